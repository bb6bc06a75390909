"""The solver of every one-question task: ask once through the ledger, and keep a reason where no answer comes.

Inspect's own `generate()` retries without end and ends the sample with an error; here an endpoint that stays silent
gives an unscored sample with a reason, and no more calls than were allowed.
"""

from __future__ import annotations

from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import Score
from inspect_ai.solver import Generate, Solver, TaskState, solver

import tameshi.evaluation._inspect  # noqa: F401  says what to install
from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import Asker, messages_of
from tameshi.evaluation.messages import Answer, Unanswered

UNANSWERED = "unanswered"


def within(max_calls: int | None, **calls: int) -> Ledger:
    """The ledger of a task, once the estimate is told and fits: `within(max_calls, target=len(samples) * k)`.

    Raises:
        tameshi.evaluation.accounting.TooManyCalls: the estimate is above `max_calls`.
    """
    Estimate(calls).check(max_calls).announce()
    return Ledger(max_calls)


@solver
def answered(ledger: Ledger | None = None, attempts: int = 3, timeout: float = 120.0, pause: float = 0.5) -> Solver:
    """Ask the model once; the answer becomes `state.output`, its chain `state.store["reasoning"]`.

    Without an answer, `state.store["unanswered"]` holds the reason; `unscored_reason` reads it for the scorer.
    """
    books = Ledger() if ledger is None else ledger

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        ask = Asker(get_model(), ledger=books, attempts=attempts, timeout=timeout, pause=pause)
        answer = await ask(messages_of(state.messages))
        if isinstance(answer, Answer):
            state.output = ModelOutput.from_content(str(state.model), answer.text)
            state.messages.append(state.output.message)
            state.store.set("reasoning", answer.reasoning)
        else:
            state.store.set(UNANSWERED, answer.reason)
        return state

    return solve


def unscored(state: TaskState) -> Score | None:
    """The score of a sample that got no answer: unscored, with the reason. None if there is an answer to score."""
    reason = state.store.get(UNANSWERED)
    return Score.unscored(explanation=str(reason)) if reason else None


__all__ = ["Unanswered", "answered", "unscored", "within"]
