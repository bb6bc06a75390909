"""What the tree is held against: one conversation at a time, begun again."""

from __future__ import annotations

import numpy as np

from tameshi.evaluation.siege.conversation import SearchResult, Target
from tameshi.evaluation.siege.meter import Meter
from tameshi.evaluation.siege.search import Run, Search, Success
from tameshi.evaluation.siege.tester import Tester


class SinglePath(Search):
    """One conversation at a time, begun again up to `restarts` times: the shape of Crescendo and GOAT.

    The tactic is kept while it leaks, else another is drawn. `turns=1` is the direct question.

    Args:
        restarts: conversations at most; the first success ends the run.
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
        restarts: int = 1,
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
        if restarts < 1:
            raise ValueError(f"restarts must be at least 1, got {restarts}")
        self.restarts = restarts

    async def run(self, *, together: bool = True) -> SearchResult:
        run, ended = Run(curve=[0] * self.turns), False
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
            else:
                ended = ended or branch.heard
        return run.result(None, "turns" if ended else "silent")
