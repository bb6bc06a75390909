"""The search: a tree of conversations, a single path, and what they cost in queries.

Zhou et al. 2025, Algorithm 1. At each of T turns every live branch gets B different next messages; each reply is scored gamma
in [0, 10]; gamma = 10 ends the run; branches with gamma = 0 are dropped, the rest sorted by the sum Gamma, K are kept; what has
leaked is quoted back. Names here: `turns` T, `branches` B, `kept` K.

Where text and code of the paper differ both are offered: `success` ("turn": some gamma = 10, the text; "cumulative":
Gamma >= 10, Algorithm 1) and `prune` ("drop_zero", the text; "rank", the released code; "random", the control).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from tameshi.evaluation.messages import Message, Unanswered, assistant, system, user
from tameshi.evaluation.siege.meter import FULL, Meter
from tameshi.evaluation.siege.tester import Move, Tester

Prune = Literal["drop_zero", "rank", "random"]
T = TypeVar("T")


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


@dataclass(frozen=True)
class SearchResult:
    """How a run ended.

    Args:
        success: the rule was broken.
        turn: the turn at which it was, from 1.
        queries: to the target.
        unscored: replies without a verdict.
        unanswered: queries that got no reply.
        curve: the highest gamma of each turn (the erosion curve), as long as the run went.
        tactics: of the best branch.
        hashes: SHA-256 of the best branch's replies. The replies themselves are never kept.
        stopped: "success", "turns", "dead" (no live branch) or "budget".
    """

    success: bool
    turn: int | None
    queries: int
    unscored: int
    unanswered: int
    curve: tuple[int, ...]
    tactics: tuple[str, ...]
    hashes: tuple[str, ...]
    stopped: Literal["success", "turns", "dead", "budget"]


@dataclass
class _Run:
    """What is counted while a search runs."""

    queries: int = 0
    unscored: int = 0
    unanswered: int = 0
    curve: list[int] = field(default_factory=list)
    best: Branch = field(default_factory=Branch)

    def see(self, branch: Branch) -> None:
        if (branch.last, branch.total) >= (self.best.last, self.best.total):
            self.best = branch

    def result(self, turn: int | None, stopped: Literal["success", "turns", "dead", "budget"]) -> SearchResult:
        replies = [m["content"] for m in self.best.history if m["role"] == "assistant"]
        return SearchResult(
            success=turn is not None,
            turn=turn,
            queries=self.queries,
            unscored=self.unscored,
            unanswered=self.unanswered,
            curve=tuple(self.curve),
            tactics=self.best.tactics,
            hashes=tuple(hashlib.sha256(r.encode("utf-8", "replace")).hexdigest() for r in replies),
            stopped=stopped,
        )


class _Search:
    """What the tree and the single path share: one message sent, scored and appended."""

    def __init__(
        self,
        target: Target,
        tester: Tester,
        meter: Meter,
        *,
        turns: int,
        quote: bool,
        success: Literal["turn", "cumulative"],
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

    async def _extend(self, run: _Run, branch: Branch, move: Move) -> Branch | None:
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

    def _room(self, run: _Run) -> int | None:
        return None if self.max_queries is None else self.max_queries - run.queries


class TreeSearch(_Search):
    """Tree search over the next messages.

    Args:
        target, tester, meter: who is tested, who asks, who scores.
        turns: T.
        branches: B, messages per live branch and turn.
        kept: K, live branches after pruning.
        prune: "drop_zero" (the paper), "rank" (the released code), "random" (a control).
        quote: what has leaked is quoted back.
        share_leaks: a leak of one branch is quoted in all (the ACL version).
        success: "turn" or "cumulative".
        keep_one: if nothing leaked at the first turn, one branch lives on.
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
        turns: int = 5,
        branches: int = 3,
        kept: int = 6,
        prune: Prune = "drop_zero",
        quote: bool = True,
        share_leaks: bool = False,
        success: Literal["turn", "cumulative"] = "turn",
        keep_one: bool = True,
        max_queries: int | None = None,
        opening: str = "",
        rng: np.random.Generator,
    ) -> None:
        super().__init__(
            target,
            tester,
            meter,
            turns=turns,
            quote=quote,
            success=success,
            max_queries=max_queries,
            opening=opening,
            rng=rng,
        )
        if branches < 1 or kept < 1:
            raise ValueError(f"branches and kept must be at least 1, got {branches} and {kept}")
        self.branches, self.kept, self.prune = branches, kept, prune
        self.share_leaks, self.keep_one = share_leaks, keep_one

    async def run(self, *, together: bool = True) -> SearchResult:
        run, live = _Run(), [self._root]
        for turn in range(1, self.turns + 1):
            moves = await self._moves(live, together)
            room = self._room(run)
            sent = moves if room is None else moves[:room]
            grown = await self._send(run, sent, together)
            run.curve.append(max((branch.last for branch in grown), default=0))
            for branch in grown:
                run.see(branch)
                if self._broken(branch):
                    run.best = branch
                    return run.result(turn, "success")
            if len(sent) < len(moves) or (room is not None and len(sent) == room and turn < self.turns):
                return run.result(None, "budget")
            live = self._pruned(grown, first=turn == 1)
            if not live:
                return run.result(None, "dead")
        return run.result(None, "turns")

    async def _moves(self, live: Sequence[Branch], together: bool) -> list[tuple[Branch, Move]]:
        shared = tuple(dict.fromkeys(fact for branch in live for fact in branch.leaks)) if self.share_leaks else ()

        def quoted(branch: Branch) -> tuple[str, ...]:
            return () if not self.quote else (shared or branch.leaks)

        proposals = await gathered(
            (self.tester.propose(b.history, quoted(b), self.branches, self.rng) for b in live), together
        )
        return [(branch, move) for branch, moves in zip(live, proposals, strict=True) for move in moves]

    async def _send(self, run: _Run, sent: Sequence[tuple[Branch, Move]], together: bool) -> list[Branch]:
        if together:
            run.queries += len(sent)
            grown = await asyncio.gather(*(self._extend(run, branch, move) for branch, move in sent))
            return [branch for branch in grown if branch is not None]
        alone: list[Branch] = []
        for branch, move in sent:
            run.queries += 1
            child = await self._extend(run, branch, move)
            if child is not None:
                alone.append(child)
                if self._broken(child):
                    break
        return alone

    def _pruned(self, grown: Sequence[Branch], *, first: bool) -> list[Branch]:
        if self.prune == "random":
            places = sorted(self.rng.permutation(len(grown))[: self.kept].tolist())
            return [grown[place] for place in places]
        if self.prune == "rank":
            return _ranked(grown, self.kept)
        leaking = [branch for branch in grown if branch.last > 0]
        if not leaking and first and self.keep_one:
            return list(grown[:1])
        return sorted(leaking, key=lambda branch: -branch.total)[: self.kept]


def _ranked(grown: Sequence[Branch], kept: int) -> list[Branch]:
    """The released code's pruning: nothing is dropped for declining; half the places go by rank, half to other tactics."""
    rank = sorted(grown, key=lambda b: -(b.last + 3 * (0 < b.last < FULL) + 0.5 * len(b.leaks)))
    top = rank[: -(-kept // 2)]
    seen = {branch.tactics[-1] for branch in top}
    others = sorted(rank[len(top) :], key=lambda b: b.tactics[-1] in seen)  # stable: by rank within each half
    return [*top, *others[: kept - len(top)]]


class SinglePath(_Search):
    """One conversation at a time, begun again up to `restarts` times: the shape of Crescendo and GOAT.

    The tactic is kept while it leaks, else another is drawn. `turns=1` is the direct question.

    Args:
        restarts: conversations at most; the first success ends the run.
        Others as in `TreeSearch`.
    """

    def __init__(
        self,
        target: Target,
        tester: Tester,
        meter: Meter,
        *,
        turns: int = 5,
        restarts: int = 1,
        quote: bool = True,
        success: Literal["turn", "cumulative"] = "turn",
        max_queries: int | None = None,
        opening: str = "",
        rng: np.random.Generator,
    ) -> None:
        super().__init__(
            target,
            tester,
            meter,
            turns=turns,
            quote=quote,
            success=success,
            max_queries=max_queries,
            opening=opening,
            rng=rng,
        )
        if restarts < 1:
            raise ValueError(f"restarts must be at least 1, got {restarts}")
        self.restarts = restarts

    async def run(self, *, together: bool = True) -> SearchResult:
        run = _Run(curve=[0] * self.turns)
        for _ in range(self.restarts):
            branch, tactic = self._root, None
            for turn in range(1, self.turns + 1):
                if self._room(run) == 0:
                    return run.result(None, "budget")
                leaks = branch.leaks if self.quote else ()
                move = await self.tester.follow(branch.history, leaks, tactic, self.rng)
                if move is None:
                    break
                run.queries += 1
                child = await self._extend(run, branch, move)
                if child is None:
                    break
                branch, tactic = child, move.tactic if child.last > 0 else None
                run.curve[turn - 1] = max(run.curve[turn - 1], branch.last)
                run.see(branch)
                if self._broken(branch):
                    run.best = branch
                    return run.result(turn, "success")
        return run.result(None, "turns")


def most_queries(turns: int, branches: int, kept: int) -> int:
    """The most queries that one tree can make: B + (T - 1) B K."""
    return branches + (turns - 1) * branches * kept


async def until(search: Callable[[int], _Search], max_queries: int, *, together: bool = False) -> int | None:
    """Repeat a method until it succeeds or has spent its queries: the equal-budget view that the paper lacks.

    Args:
        search: makes the n-th attempt.
        max_queries: of all attempts together.

    Returns:
        Queries spent when it first succeeded; None if it never did.
    """
    spent = attempt = 0
    while spent < max_queries:
        method = search(attempt)
        method.max_queries = max_queries - spent
        result = await method.run(together=together)
        spent, attempt = spent + result.queries, attempt + 1
        if result.success:
            return spent
        if result.queries == 0:
            return None
    return None


def equal_budget_curve(spent: Iterable[int | None], budgets: Sequence[int]) -> list[float]:
    """Share of games won within each budget of queries; it never falls.

    Args:
        spent: of every game, the queries at its first success, or None.
        budgets: in queries.
    """
    games = list(spent)
    return [sum(s is not None and s <= budget for s in games) / max(len(games), 1) for budget in budgets]


def ending(result: SearchResult, turns: int) -> SearchResult:
    """The same result with a curve for every turn: a broken rule stays broken (10), a dead tree gives nothing (0)."""
    rest = FULL if result.success else 0
    return replace(result, curve=result.curve + (rest,) * (turns - len(result.curve)))


async def gathered(works: Iterable[Awaitable[T]], together: bool) -> list[T]:
    """Results in order; at once, or one after the other."""
    if together:
        return list(await asyncio.gather(*works))
    return [await work for work in works]


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
