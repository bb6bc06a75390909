"""Run an Inspect task in a test, and read the numbers off its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai._eval.task import run as inspect_run
from inspect_ai._eval.task.results import eval_results
from inspect_ai.log import EvalLog


def run(task: Task, model: Any, tmp_path: Path, **settings: Any) -> EvalLog:
    """The log of a task that ended well."""
    (log,) = eval(task, model=model, log_dir=str(tmp_path / "logs"), log_realtime=False, **settings)
    assert log.status == "success", log.error
    return log


def metrics(log: EvalLog, scorer: int = 0) -> dict[str, float]:
    """The metrics of one of its scorers."""
    assert log.results is not None
    return {name: value.value for name, value in log.results.scores[scorer].metrics.items()}


def nulls(log: EvalLog) -> dict[str, float]:
    """What the null policies score, printed beside the model."""
    assert log.results is not None
    return {score.name: score.metrics["mean"].value for score in log.results.scores if score.scorer == "null_policies"}


def metrics_after_every_answer(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have Inspect compute the metrics after every sample, where it does so once a second; how many samples there were."""
    seen: list[int] = []

    def always(update: Any, **settings: Any) -> Any:
        def compute(count: int, scores: Any, scorers: Any, names: Any, reducers: Any, metrics: Any) -> None:
            results, _ = eval_results(count, scores, reducers, scorers, metrics, names)
            assert results.scores
            seen.append(count)

        return compute

    monkeypatch.setattr(inspect_run, "update_metrics_display_fn", always)
    return seen
