"""What every task is made of: its samples, a solver that asks once, and a reason where no answer comes.

Inspect's own `generate()` retries without end and ends the sample with an error; here an endpoint that stays silent
gives an unscored sample with a reason, and no more calls than were allowed. So does a limit that the user set on the run.
"""

from __future__ import annotations

from collections.abc import Iterable

from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import Score
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import LimitExceededError

import tameshi.evaluation._inspect  # noqa: F401  says what to install
from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import Asker, messages_of
from tameshi.evaluation.guarded import failed, guard
from tameshi.evaluation.messages import Answer
from tameshi.evaluation.secrets import redacted_within

UNANSWERED = "unanswered"
CUT_SHORT = (
    "a limit of the run was reached before an answer came"  # stands from the start, for nothing else can say so then
)


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
        state.store.set(UNANSWERED, CUT_SHORT)
        ask = Asker(get_model(), ledger=books, attempts=attempts, timeout=timeout, pause=pause)
        answer = await ask(messages_of(state.messages))
        if isinstance(answer, Answer):
            state.output = ModelOutput.from_content(str(state.model), answer.text)
            state.messages.append(state.output.message)
            state.store.set("reasoning", answer.reasoning)
            state.store.delete(UNANSWERED)
        else:
            state.store.set(UNANSWERED, answer.reason)
        return state

    return solve


@solver
def generated() -> Solver:
    """Inspect's own `generate`, once, for a task that needs the whole output; a failure is kept as the reason."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        guard(get_model())
        state.store.set(UNANSWERED, CUT_SHORT)
        try:
            state = await generate(state, max_retries=0)
        except LimitExceededError:
            raise
        except Exception as error:  # whatever a provider raises is the endpoint's failure, not ours
            state.store.set(UNANSWERED, failed(error).reason)
        else:
            state.store.delete(UNANSWERED)
        return state

    return solve


def dataset(samples: Iterable[Sample], *, name: str | None = None) -> MemoryDataset:
    """The samples of a task, without keys and passwords of this machine: Inspect writes them into its log."""
    clean = [Sample.model_validate(redacted_within(sample.model_dump())) for sample in samples]
    return MemoryDataset(clean, name=name)


def unscored(state: TaskState) -> Score | None:
    """The score of a sample that got no answer: unscored, with the reason. None if there is an answer to score."""
    reason = state.store.get(UNANSWERED)
    return Score.unscored(explanation=str(reason)) if reason else None


__all__ = ["CUT_SHORT", "answered", "dataset", "generated", "unscored", "within"]
