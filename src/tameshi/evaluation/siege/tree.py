"""The tree of conversations.

Zhou et al. 2025, Algorithm 1. At each of T turns every live branch gets B different next messages; each reply is scored gamma
in [0, 10]; gamma = 10 ends the run; branches with gamma = 0 are dropped, the rest sorted by the sum Gamma, K are kept; what has
leaked is quoted back. Names here: `turns` T, `branches` B, `kept` K.

Where text and code of the paper differ both are offered: `success` ("turn" or "cumulative") and `prune` ("drop_zero", the
text; "rank", the released code). Of the released code's ranking the bonuses for keywords are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Literal, TypeVar

import numpy as np

from tameshi.evaluation.siege.conversation import Branch, SearchResult, Target
from tameshi.evaluation.siege.meter import FULL, Meter
from tameshi.evaluation.siege.search import Run, Search, Success
from tameshi.evaluation.siege.tester import Move, Tester

Prune = Literal["drop_zero", "rank", "random"]
T = TypeVar("T")


class TreeSearch(Search):
    """Tree search over the next messages.

    Args:
        branches: B, messages per live branch and turn.
        kept: K, live branches after pruning.
        prune: "drop_zero" (the paper), "rank" (the released code), "random" (a control).
        share_leaks: a leak of one branch is quoted in all (the ACL version).
        keep_one: if nothing leaked at the first turn, one branch lives on.
        Others as in `Search`.

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
        share_leaks: bool = False,
        keep_one: bool = True,
        quote: bool = True,
        success: Success = "turn",
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
        run, live = Run(), [self._root]
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
            if not any(branch.heard for branch in grown):
                return run.result(None, "silent")
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

        proposals = await _gathered(
            (self.tester.propose(b.history, quoted(b), self.branches, self.rng) for b in live), together
        )
        return [(branch, move) for branch, moves in zip(live, proposals, strict=True) for move in moves]

    async def _send(self, run: Run, sent: Sequence[tuple[Branch, Move]], together: bool) -> list[Branch]:
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


def most_queries(turns: int, branches: int, kept: int) -> int:
    """The most queries that one tree can make: B + (T - 1) B K."""
    return branches + (turns - 1) * branches * kept


def _ranked(grown: Sequence[Branch], kept: int) -> list[Branch]:
    """The released code's pruning: nothing is dropped for declining; half the places go by rank, half to other tactics."""
    rank = sorted(grown, key=lambda b: -(b.last + 3 * (0 < b.last < FULL) + 0.5 * len(b.leaks)))
    top = rank[: -(-kept // 2)]
    seen = {branch.tactics[-1] for branch in top}
    others = sorted(rank[len(top) :], key=lambda b: b.tactics[-1] in seen)  # stable: by rank within each half
    return [*top, *others[: kept - len(top)]]


async def _gathered(works: Iterable[Awaitable[T]], together: bool) -> list[T]:
    """Results in order; at once, or one after the other."""
    if together:
        return list(await asyncio.gather(*works))
    return [await work for work in works]
