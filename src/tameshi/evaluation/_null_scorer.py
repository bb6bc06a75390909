"""The scorer behind `nulls.null_policies`; in a file of its own because Inspect looks up its annotations here."""

from __future__ import annotations

from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState

from tameshi.evaluation.nulls import PREFIX


@scorer(metrics={"*": [mean()]}, name="null_policies")
def null_policies() -> Scorer:
    """What every null policy scores on the sample, whether or not the model answered."""

    async def score(state: TaskState, target: Target) -> Score:
        held = {name: float(value) for name, value in state.metadata.items() if name.startswith(PREFIX)}
        return Score(value=dict(held))

    return score
