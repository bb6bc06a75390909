"""What is searched and what comes out: conversations as branches of a tree, and the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from tameshi.evaluation.messages import Message, Unanswered
from tameshi.evaluation.siege.meter import FULL

Stopped = Literal["success", "turns", "dead", "budget", "silent"]


class Target(Protocol):
    """What is tested. An `Unanswered` ends the branch and is counted."""

    async def reply(self, messages: Sequence[Message]) -> str | Unanswered:
        """The answer to a conversation that ends with a message of the user."""


@dataclass(frozen=True)
class Branch:
    """One conversation so far.

    Args:
        history: messages of both sides, the newest last.
        leaks: facts given away in it, in the order in which they came.
        gammas: score of every turn; None where the judge was silent.
        tactics: of every turn.
    """

    history: tuple[Message, ...] = ()
    leaks: tuple[str, ...] = ()
    gammas: tuple[int | None, ...] = ()
    tactics: tuple[str, ...] = ()

    @property
    def last(self) -> int:
        """gamma of the last turn; a missing verdict counts as nothing given away."""
        return (self.gammas[-1] or 0) if self.gammas else 0

    @property
    def total(self) -> int:
        """Gamma, the sum over the turns."""
        return sum(g or 0 for g in self.gammas)

    @property
    def heard(self) -> bool:
        """The last turn got a reply and a verdict."""
        return bool(self.gammas) and self.gammas[-1] is not None


@dataclass(frozen=True)
class SearchResult:
    """How a run ended.

    Args:
        success: the rule was broken.
        turn: the turn at which it was, from 1.
        queries: messages sent to the target.
        unscored: replies without a verdict.
        unanswered: queries that got no reply.
        curve: the highest gamma of each turn (the erosion curve), as long as the run went.
        tactics: of the best branch.
        hashes: SHA-256 of the best branch's replies. The replies themselves are never kept.
        stopped: "success", "turns", "dead" (no live branch), "budget", or "silent": at the end no reply came, or none got a
            verdict, so that nobody knows whether the rule held.
        calls: of models by role (target, tester, judge), every attempt; empty where none is asked through an `Asker`.
    """

    success: bool
    turn: int | None
    queries: int
    unscored: int
    unanswered: int
    curve: tuple[int, ...]
    tactics: tuple[str, ...]
    hashes: tuple[str, ...]
    stopped: Stopped
    calls: Mapping[str, int] = field(default_factory=dict)


def ending(result: SearchResult, turns: int) -> SearchResult:
    """The same result with a curve for every turn: a broken rule stays broken (10), a dead tree gives nothing (0)."""
    rest = FULL if result.success else 0
    return replace(result, curve=result.curve + (rest,) * (turns - len(result.curve)))
