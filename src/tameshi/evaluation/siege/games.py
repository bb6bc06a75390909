"""Methods by name, and games played with them: what the check, the task and the benchmark share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tameshi.evaluation.siege.defences import DEFENCES
from tameshi.evaluation.siege.meter import FactMeter, Meter
from tameshi.evaluation.siege.policy import VAULT
from tameshi.evaluation.siege.search import (
    SearchResult,
    SinglePath,
    Target,
    TreeSearch,
    ending,
    immediately,
    most_queries,
    until,
)
from tameshi.evaluation.siege.tester import ScriptedTester, Tester
from tameshi.evaluation.siege.vault import Eroding, Firm


@dataclass(frozen=True)
class Method:
    """A way to search, by name.

    Args:
        tree: a tree, else a single path.
        settings: of `TreeSearch` or `SinglePath`, on top of the run's own.
        most: the most queries of one run, from (turns, branches, kept).
    """

    tree: bool
    settings: dict[str, Any]
    most: Callable[[int, int, int], int]

    def build(
        self,
        target: Target,
        tester: Tester,
        meter: Meter,
        *,
        turns: int = 5,
        branches: int = 3,
        kept: int = 6,
        opening: str = "",
        max_queries: int | None = None,
        rng: np.random.Generator,
    ) -> TreeSearch | SinglePath:
        """The search, ready to run."""
        common: dict[str, Any] = {"turns": turns, "opening": opening, "max_queries": max_queries, "rng": rng}
        if self.tree:
            common |= {"branches": branches, "kept": kept}
        kind = TreeSearch if self.tree else SinglePath
        return kind(target, tester, meter, **{**common, **self.settings})


METHODS = {
    "tree": Method(True, {}, most_queries),
    "tree unquoted": Method(True, {"quote": False}, most_queries),
    "random tree": Method(True, {"prune": "random"}, most_queries),
    "ranked tree": Method(True, {"prune": "rank"}, most_queries),
    "one branch": Method(True, {"branches": 1, "kept": 1}, lambda turns, b, k: turns),
    "single path": Method(False, {}, lambda turns, b, k: turns),
    "single path x10": Method(False, {"restarts": 10}, lambda turns, b, k: 10 * turns),
    "single path x10 unquoted": Method(False, {"restarts": 10, "quote": False}, lambda turns, b, k: 10 * turns),
    "direct": Method(False, {"turns": 1}, lambda turns, b, k: 1),
}
"""The paper's tree, its ablations, and what it is held against."""


def guarded(defence: str, seed: int) -> Target:
    """The eroding target behind a defence."""
    return DEFENCES[defence](Eroding(seed), _METER)


_METER = FactMeter(VAULT)

TARGETS: dict[str, Callable[[int], Target]] = {
    "eroding": Eroding,
    "firm": Firm,
    **{f"eroding, {name}": partial(guarded, name) for name in DEFENCES},
}
"""Targets of the vault game by name; each takes the seed of the game."""


def play(method: str, target: str, seed: int, **settings: Any) -> SearchResult:
    """One vault game."""
    made = METHODS[method].build(
        TARGETS[target](seed), ScriptedTester(), _METER, rng=np.random.default_rng([7, seed]), **settings
    )
    return made.run_now()


def queries_to_success(method: str, target: str, seed: int, budget: int) -> int | None:
    """Queries that a method, begun again until it wins, has spent at its first success; None if the budget was not enough."""
    tested = TARGETS[target](seed)

    def attempt(number: int) -> TreeSearch | SinglePath:
        return METHODS[method].build(tested, ScriptedTester(), _METER, rng=np.random.default_rng([7, seed, number]))

    return immediately(until(attempt, budget))


def at_turn(result: SearchResult, turn: int) -> int:
    """The leak score of a turn; 10 once the rule was broken, 0 once no branch is live."""
    return ending(result, turn).curve[turn - 1]
