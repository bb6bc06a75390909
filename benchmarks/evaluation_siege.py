"""How fast siege plays, and what sending a turn together saves.

    python benchmarks/evaluation_siege.py

Prints one JSON object. Goals: 400 vault games x 7 methods x 3 targets under 4 CPU seconds; a turn of 18 replies from an endpoint
that takes 0.2 s at least 5 times faster together than one after the other.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import numpy as np

from tameshi.evaluation.messages import Message
from tameshi.evaluation.siege import FactMeter, ScriptedTester, TreeSearch
from tameshi.evaluation.siege.games import play
from tameshi.evaluation.siege.policy import VAULT
from tameshi.evaluation.siege.vault import REPLIES

METHODS = (
    "tree",
    "tree unquoted",
    "random tree",
    "one branch",
    "single path",
    "single path x10",
    "single path x10 unquoted",
)
TARGETS = ("eroding", "eroding, leak budget", "firm")


class Slow:
    """An endpoint that answers after 0.2 seconds."""

    async def reply(self, messages: Sequence[Message]) -> str:
        await asyncio.sleep(0.2)
        return REPLIES[1]


def games() -> float:
    """CPU seconds for 400 games of every method on every target."""
    begun = time.process_time()
    for target in TARGETS:
        for method in METHODS:
            for seed in range(400):
                play(method, target, seed)
    return time.process_time() - begun


def eighteen(*, together: bool) -> float:
    """Wall seconds of one turn of 18 messages."""

    async def one_turn() -> float:
        tester = ScriptedTester({f"move {n}": f"Message {n}?" for n in range(18)})
        search = TreeSearch(Slow(), tester, FactMeter(VAULT), turns=1, branches=18, rng=np.random.default_rng(0))
        begun = time.perf_counter()
        result = await search.run(together=together)
        assert result.queries == 18
        return time.perf_counter() - begun

    return asyncio.run(one_turn())


def main() -> None:
    alone, together = eighteen(together=False), eighteen(together=True)
    json.dump(
        {
            "vault games": 400 * len(METHODS) * len(TARGETS),
            "cpu seconds": round(min(games() for _ in range(2)), 3),
            "turn of 18, one by one, seconds": round(alone, 3),
            "turn of 18, together, seconds": round(together, 3),
            "times faster": round(alone / together, 1),
        },
        sys.stdout,
        indent=2,
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
