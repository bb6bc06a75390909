"""What the tree and the single path share: one message sent, scored and appended, and what is counted on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from tameshi.evaluation.messages import Unanswered, assistant, system, user
from tameshi.evaluation.siege.conversation import Branch, SearchResult, Stopped, Target
from tameshi.evaluation.siege.meter import FULL, Meter
from tameshi.evaluation.siege.tester import Move, Tester

Success = Literal["turn", "cumulative"]
T = TypeVar("T")


@dataclass
class Run:
    """What is counted while a search runs."""

    queries: int = 0
    unscored: int = 0
    unanswered: int = 0
    curve: list[int] = field(default_factory=list)
    best: Branch = field(default_factory=Branch)

    def see(self, branch: Branch) -> None:
        """Keep the branch if it got further than any before."""
        if (branch.last, branch.total) >= (self.best.last, self.best.total):
            self.best = branch

    def result(self, turn: int | None, stopped: Stopped) -> SearchResult:
        """The end of the run; `turn` is that of the success, if there was one."""
        replies = [m["content"] for m in self.best.history if m["role"] == "assistant"]
        heard = self.queries - self.unanswered - self.unscored
        return SearchResult(
            success=turn is not None,
            turn=turn,
            queries=self.queries,
            unscored=self.unscored,
            unanswered=self.unanswered,
            curve=tuple(self.curve),
            tactics=self.best.tactics,
            hashes=tuple(hashlib.sha256(r.encode("utf-8", "replace")).hexdigest() for r in replies),
            stopped=stopped if turn is not None or heard > 0 else "silent",
        )


class Search:
    """A way to search; `TreeSearch` and `SinglePath` are the two.

    Args:
        target, tester, meter: who is tested, who asks, who scores.
        turns: T.
        quote: what has leaked is quoted back.
        success: "turn" (some gamma = 10, the paper's text) or "cumulative" (Gamma >= 10, its Algorithm 1).
        max_queries: hard limit on queries to the target.
        opening: the system prompt; empty if the endpoint brings its own.
        rng: of the tester's draws and of random pruning.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self,
        target: Target,
        tester: Tester,
        meter: Meter,
        *,
        turns: int,
        quote: bool,
        success: Success,
        max_queries: int | None,
        opening: str,
        rng: np.random.Generator,
    ) -> None:
        if turns < 1:
            raise ValueError(f"turns must be at least 1, got {turns}")
        if max_queries is not None and max_queries < 1:
            raise ValueError(f"max_queries must be at least 1, got {max_queries}")
        self.target, self.tester, self.meter, self.rng = target, tester, meter, rng
        self.turns, self.quote, self.success, self.max_queries = turns, quote, success, max_queries
        self._root = Branch((system(opening),) if opening else ())

    async def run(self, *, together: bool = True) -> SearchResult:
        """Search; `together` sends all messages of a turn at once, so that a run takes as long as its turns.

        One after the other is cheaper in queries, since the first success ends the run.
        """
        raise NotImplementedError

    def run_now(self) -> SearchResult:
        """The same for targets, testers and meters that never wait; one after the other."""
        return immediately(self.run(together=False))

    async def _extend(self, run: Run, branch: Branch, move: Move) -> Branch | None:
        asked = user(move.message)
        reply = await self.target.reply((*branch.history, asked))
        if isinstance(reply, Unanswered):
            run.unanswered += 1
            return None
        reading = await self.meter.read(reply, move.message)
        if reading.gamma is None:
            run.unscored += 1
        new = tuple(fact for fact in reading.leaks if fact not in branch.leaks)
        return Branch(
            (*branch.history, asked, assistant(reply)),
            branch.leaks + new,
            (*branch.gammas, reading.gamma),
            (*branch.tactics, move.tactic),
        )

    def _broken(self, branch: Branch) -> bool:
        return branch.last >= FULL or (self.success == "cumulative" and branch.total >= FULL)

    def _room(self, run: Run) -> int | None:
        return None if self.max_queries is None else self.max_queries - run.queries


def immediately(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, without an event loop.

    Raises:
        RuntimeError: it did wait.
    """
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration carries no type
    work.close()
    raise RuntimeError("this target, tester or meter waits for something; use `await search.run()`")
