"""The metric behind `nulls.null_policies`; in a file of its own because Inspect looks up its annotations here."""

from __future__ import annotations

from inspect_ai.scorer import Metric, SampleScore, Value, metric

from tameshi.evaluation.nulls import PREFIX


@metric(name="null_policies")
def null_policies() -> Metric:
    """The mean of every null policy on the same samples."""

    def compute(scores: list[SampleScore]) -> Value:
        found: dict[str, list[float]] = {}
        for sample in scores:
            for name, value in (sample.sample_metadata or {}).items():
                if name.startswith(PREFIX):
                    found.setdefault(name, []).append(float(value))
        return {name: sum(values) / len(values) for name, values in sorted(found.items())}

    return compute
