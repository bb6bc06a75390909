"""A model's compression of texts: every quantity, and beside it the controls that show whether it says anything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tameshi.evaluation.matrix_nuclear_norm.controls import CONTROLS, Control, rotated, shuffled, untrained_twin
from tameshi.evaluation.matrix_nuclear_norm.norms import diff_erank, null_score
from tameshi.evaluation.matrix_nuclear_norm.reading import (
    METRICS,
    Metric,
    Read,
    encoded,
    hidden_states,
    padding_token,
    text_scores,
)

EMPTY = "the tokenizer makes no token of it"
UNDEFINED = "one token, or all rows equal: a centred row is zero"


@dataclass(frozen=True)
class Representation:
    """What was measured.

    Args:
        name: of the model.
        width: features of a hidden state.
        tokens: (texts,), how long each text is after truncation.
        scores: "model" or a control -> metric -> one value per text. MNN and nuclear norm are per token, the entropy is a share
            of ln(width), loss in nats per token. NaN where it is not defined, with the reason in `missing`.
        missing: text -> why it has no score.
    """

    name: str
    width: int
    tokens: tuple[int, ...]
    scores: Mapping[str, Mapping[str, tuple[float, ...]]]
    missing: Mapping[int, str]

    def mean(self, metric: Metric, of: str = "model") -> float:
        """Plain mean over the texts that have a score; NaN if none has, or the metric was not taken."""
        found = [v for v in self.scores.get(of, {}).get(metric, ()) if not math.isnan(v)]
        return math.fsum(found) / len(found) if found else math.nan

    @property
    def diff_erank(self) -> float:
        """By how much training lowered the effective rank; NaN without the untrained twin."""
        if "untrained" not in self.scores or "erank" not in self.scores["model"]:
            return math.nan
        entropies = [torch.tensor(self.scores[of]["erank"], dtype=torch.float64).log() for of in ("model", "untrained")]
        return float(diff_erank(*entropies))

    def summary(self) -> str:
        """A table for the terminal: metrics in columns, the model and its controls in rows."""
        metrics = list(self.scores["model"])
        lines = [f"{self.name}: {len(self.tokens)} texts, width {self.width}"]
        lines.append(f"{'':<12}" + "".join(f"{metric:>10}" for metric in metrics))
        for of in self.scores:
            values = (self.mean(metric, of) for metric in metrics)  # type: ignore[arg-type]  # keys are metrics
            lines.append(f"{of:<12}" + "".join(f"{'–' if math.isnan(v) else f'{v:.4f}':>10}" for v in values))
        if not math.isnan(self.diff_erank):
            lines.append(f"Diff-eRank {self.diff_erank:.4f}")
        if self.missing:
            reasons = Counter(self.missing.values())
            lines += [f"{count} texts without a score: {reason}" for reason, count in reasons.items()]
        return "\n".join(lines)


def representation_report(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    metrics: Sequence[Metric] = METRICS,
    controls: Sequence[Control] = ("untrained", "rotated", "null"),
    max_length: int = 2048,
    layer: int = -1,
    batch_size: int = 1,
    skip_bos: bool = False,
    twins: int = 1,
    seed: int = 0,
    name: str = "model",
) -> Representation:
    """Score a model on texts, and its controls on the same texts.

    Args:
        model: any `AutoModel` or `AutoModelForCausalLM` of transformers; a loss needs the latter.
        tokenizer: its tokenizer.
        texts: one score each.
        metrics: which.
        controls: which.
        max_length: tokens a text is cut to; fewer where the model has fewer positions.
        layer: whose hidden states; -1 is the last one, after the final norm.
        batch_size: texts a forward pass takes; they are padded and masked.
        skip_bos: the state of a first token that begins every text is read over but not scored; it is often huge.
        twins: untrained models, each with weights of its own; their scores are averaged text by text.
        seed: of the untrained weights, the rotation and the shuffling.
        name: for people.

    Raises:
        ValueError: no texts, an unknown metric or control, hidden states that are not finite (naming layer and token).
    """
    if twins < 1:
        raise ValueError(f"twins must be at least 1, got {twins}")
    if not texts:
        raise ValueError("a report needs at least one text")
    for given, known in ((metrics, METRICS), (controls, CONTROLS)):
        unknown = [word for word in given if word not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(known)}")
    every = encoded(model, tokenizer, texts, max_length=max_length)
    tokens = [ids for ids in every if len(ids)]
    if not tokens:
        raise ValueError("a report needs at least one text that the tokenizer makes a token of")
    begins = getattr(tokenizer, "bos_token_id", None)
    skip = int(skip_bos and begins is not None and all(len(ids) > 1 and ids[0] == begins for ids in tokens))

    def read_by(model: Any, texts: Sequence[Tensor]) -> Read:
        found = hidden_states(model, texts, layer=layer, batch_size=batch_size, padding=padding_token(tokenizer))
        return [(hidden[skip:], loss) for hidden, loss in found]

    read = read_by(model, tokens)
    width = read[0][0].shape[-1]
    scores = {"model": text_scores(read, metrics)}
    if "untrained" in controls:
        fresh = [text_scores(read_by(untrained_twin(model, seed=seed + k), tokens), metrics) for k in range(twins)]
        scores["untrained"] = {
            metric: tuple(math.fsum(values) / twins for values in zip(*(twin[metric] for twin in fresh), strict=True))
            for metric in metrics
        }
    if "rotated" in controls:
        scores["rotated"] = text_scores(rotated(read, seed=seed), metrics)
    if "null" in controls:
        scores["null"] = {"mnn": tuple(null_score(len(hidden), width) for hidden, _ in read)}
    if "shuffled" in controls:
        scores["shuffled"] = text_scores(read_by(model, shuffled(tokens, seed=seed, keep=skip)), metrics)

    def placed(values: Sequence[float]) -> tuple[float, ...]:
        """NaN for the texts without a token, which nobody read."""
        left = iter(values)
        return tuple(next(left) if len(ids) else math.nan for ids in every)

    mnn = placed(scores["model"]["mnn"] if "mnn" in metrics else text_scores(read, ("mnn",))["mnn"])
    missing = {i: UNDEFINED if len(every[i]) else EMPTY for i, score in enumerate(mnn) if math.isnan(score)}
    return Representation(
        name,
        width,
        tuple(max(len(ids) - skip, 0) for ids in every),
        {of: {metric: placed(values) for metric, values in taken.items()} for of, taken in scores.items()},
        missing,
    )


def compare(reports: Sequence[Representation]) -> str:
    """Several models in one table, with a warning where their scores cannot be compared."""
    lines = [report.summary() for report in reports]
    if len({report.width for report in reports}) > 1:
        lines.append(
            "These models differ in width. MNN per token depends on it without any training: read it against null and untrained."
        )
    if len({report.tokens for report in reports}) > 1:
        lines.append("These models cut the texts into different tokens, and MNN depends on the length.")
    return "\n\n".join(lines)
