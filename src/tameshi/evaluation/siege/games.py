"""Methods by name, and games played with them: what the check, the task and the benchmark share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from tameshi.evaluation.siege.budget import until
from tameshi.evaluation.siege.conversation import SearchResult, Target, ending
from tameshi.evaluation.siege.defences import DEFENCES
from tameshi.evaluation.siege.meter import FactMeter, Meter
from tameshi.evaluation.siege.path import SinglePath
from tameshi.evaluation.siege.policy import VAULT
from tameshi.evaluation.siege.search import immediately
from tameshi.evaluation.siege.tester import ScriptedTester, Tester
from tameshi.evaluation.siege.tree import TreeSearch, most_queries
from tameshi.evaluation.siege.vault import Eroding, Firm


@dataclass(frozen=True)
class Method:
    """A way to search, by name.

    Args:
        tree: a tree, else a single path.
        settings: of `TreeSearch` or `SinglePath`, on top of the run's own.
    """

    tree: bool
    settings: dict[str, Any] = field(default_factory=dict)

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

    def most(self, turns: int, branches: int, kept: int) -> int:
        """The most queries of one run."""
        given = {"turns": turns, "branches": branches, "kept": kept, "restarts": 1} | self.settings
        if self.tree:
            return most_queries(given["turns"], given["branches"], given["kept"])
        return int(given["restarts"] * given["turns"])


METHODS = {
    "tree": Method(True),
    "tree unquoted": Method(True, {"quote": False}),
    "random tree": Method(True, {"prune": "random"}),
    "ranked tree": Method(True, {"prune": "rank"}),
    "one branch": Method(True, {"branches": 1, "kept": 1}),
    "single path": Method(False),
    "single path x10": Method(False, {"restarts": 10}),
    "single path x10 unquoted": Method(False, {"restarts": 10, "quote": False}),
    "direct": Method(False, {"turns": 1}),
}
"""The paper's tree, its ablations, and what it is held against."""


def named(method: str, restarts: int | None = None) -> Method:
    """The method of a name; a single path begun again up to `restarts` times, where that is given.

    Raises:
        ValueError: no such method, or restarts of a tree.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    found = METHODS[method]
    if restarts is None:
        return found
    if found.tree:
        raise ValueError(f"restarts are those of a single path, and {method!r} is a tree")
    return replace(found, settings=found.settings | {"restarts": restarts})


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
