"""The score of a probe set at every evaluation of a transformers `Trainer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tameshi.evaluation.matrix_nuclear_norm.reading import Metric
from tameshi.evaluation.matrix_nuclear_norm.report import representation_report


class RepresentationCallback(TrainerCallback):
    """`Trainer(..., callbacks=[RepresentationCallback(tokenizer, probe)])`.

    At each evaluation the mean scores are added to the evaluation's metrics and to `state.log_history`, as
    `representation_mnn`, `representation_entropy`, ...

    Args:
        tokenizer: of the model in training.
        texts: the probe set; a few dozen texts are enough for a trend.
        metrics: which.
        max_length: tokens a text is cut to.
        batch_size: texts a forward pass takes.
    """

    def __init__(
        self,
        tokenizer: Any,
        texts: Sequence[str],
        *,
        metrics: Sequence[Metric] = ("mnn", "entropy"),
        max_length: int = 512,
        batch_size: int = 8,
    ) -> None:
        self.tokenizer, self.texts, self.metrics = tokenizer, tuple(texts), tuple(metrics)
        self.max_length, self.batch_size = max_length, batch_size

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        report = representation_report(
            kwargs["model"],
            self.tokenizer,
            self.texts,
            metrics=self.metrics,
            controls=(),
            max_length=self.max_length,
            batch_size=self.batch_size,
        )
        scores = {f"representation_{metric}": report.mean(metric) for metric in self.metrics}
        if isinstance(kwargs.get("metrics"), dict):
            kwargs["metrics"].update(scores)
        state.log_history.append({**scores, "epoch": state.epoch, "step": state.global_step})
