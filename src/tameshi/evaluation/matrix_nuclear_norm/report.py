"""A model's compression of texts: every quantity, and beside it the controls that show whether it says anything.

The controls stand in for the model. *untrained*: the same architecture with fresh weights. *rotated*: the same hidden states
after a random rotation of the features, which changes no distance between tokens. *null*: the value if all column norms were
equal, computed from length and width alone. *shuffled*: the same tokens in random order. A score that the controls share is a
property of the width and the length of the text, not of what the model has learnt.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from tameshi.evaluation.matrix_nuclear_norm.norms import (
    diff_erank,
    haar_rotation,
    matrix_entropy,
    matrix_nuclear_norm,
    nuclear_norm,
    null_score,
)

Metric: TypeAlias = Literal["mnn", "nuclear", "entropy", "erank", "loss"]
Control: TypeAlias = Literal["untrained", "rotated", "null", "shuffled"]
METRICS: tuple[Metric, ...] = get_args(Metric)
CONTROLS: tuple[Control, ...] = get_args(Control)


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
        entropies = [torch.tensor(self.scores[of]["erank"]).log() for of in ("model", "untrained")]
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
            lines.append(f"{len(self.missing)} texts without a score: {next(iter(self.missing.values()))}")
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
        max_length: tokens a text is cut to.
        layer: whose hidden states; -1 is the last one, after the final norm.
        batch_size: texts a forward pass takes; they are padded and masked.
        skip_bos: the state of a first token that begins every text is read over but not scored; it is often huge.
        seed: of the untrained weights, the rotation and the shuffling.
        name: for people.

    Raises:
        ValueError: no texts, an unknown metric or control, hidden states that are not finite (naming layer and token).
    """
    if not texts:
        raise ValueError("a report needs at least one text")
    for given, known in ((metrics, METRICS), (controls, CONTROLS)):
        unknown = [word for word in given if word not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(known)}")
    encoded = [_encoded(tokenizer, text, max_length) for text in texts]
    begins = getattr(tokenizer, "bos_token_id", None)
    skip = int(skip_bos and begins is not None and all(len(ids) > 1 and ids[0] == begins for ids in encoded))

    def read_by(model: Any, encoded: Sequence[Tensor]) -> list[tuple[Tensor, float]]:
        found = hidden_states(model, encoded, layer=layer, batch_size=batch_size, padding=_padding(tokenizer))
        return [(hidden[skip:], loss) for hidden, loss in found]

    read = read_by(model, encoded)
    width = read[0][0].shape[-1]
    scores = {"model": text_scores(read, metrics)}
    if "untrained" in controls:
        scores["untrained"] = text_scores(read_by(untrained_twin(model, seed=seed), encoded), metrics)
    if "rotated" in controls:
        rotation = haar_rotation(width, seed=seed)
        scores["rotated"] = text_scores([(h.double() @ rotation.to(h.device), math.nan) for h, _ in read], metrics)
    if "null" in controls:
        scores["null"] = {"mnn": tuple(null_score(len(h), width) for h, _ in read)}
    if "shuffled" in controls:
        generator = torch.Generator().manual_seed(seed)
        orders = [skip + torch.randperm(len(ids) - skip, generator=generator) for ids in encoded]
        shuffled = [torch.cat([ids[:skip], ids[order]]) for ids, order in zip(encoded, orders, strict=True)]
        scores["shuffled"] = text_scores(read_by(model, shuffled), metrics)
    missing = {
        i: "one token, or all rows equal: a centred row is zero"
        for i, (h, _) in enumerate(read)
        if math.isnan(float(matrix_nuclear_norm(h)))
    }
    return Representation(name, width, tuple(len(h) for h, _ in read), scores, missing)


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


def untrained_twin(model: Any, *, seed: int = 0) -> Any:
    """The same architecture with fresh weights, on the same device and in the same precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = type(model)(copy.deepcopy(model.config))
    return twin.to(device=model.device, dtype=model.dtype).eval()


@torch.inference_mode()
def hidden_states(
    model: Any, encoded: Sequence[Tensor], *, layer: int = -1, batch_size: int = 1, padding: int = 0
) -> Iterator[tuple[Tensor, float]]:
    """What a model makes of texts: (hidden states (tokens, width), mean loss in nats) of each, on the CPU.

    Args:
        model: any `AutoModel` or `AutoModelForCausalLM`; without a head the loss is NaN.
        encoded: (tokens,) each.
        layer: -1 is the last one, after the final norm.
        batch_size: texts a forward pass takes; they are padded to the right and masked.
        padding: the token to pad with.

    Raises:
        ValueError: values that are not finite, naming layer and token.
    """
    training = model.training
    model.eval()
    try:
        for start in range(0, len(encoded), batch_size):
            yield from _batch(model, encoded[start : start + batch_size], layer, padding)
    finally:
        model.train(training)


def _batch(model: Any, encoded: Sequence[Tensor], layer: int, padding: int) -> Iterator[tuple[Tensor, float]]:
    ids = torch.nn.utils.rnn.pad_sequence(list(encoded), batch_first=True, padding_value=padding)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in encoded])[:, None]
    inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.long().to(model.device)}
    output = model(**inputs, output_hidden_states=True, use_cache=False)
    hidden = output.hidden_states[layer].cpu()
    logits = output["logits"].float().cpu() if "logits" in output else None
    for i, row in enumerate(encoded):
        states = hidden[i, : len(row)]
        broken = (~torch.isfinite(states).all(-1)).nonzero()
        if len(broken):
            raise ValueError(
                f"hidden states of layer {layer} hold NaN or infinity at token {int(broken[0])}; "
                "half precision overflows in some models, open this one in float32"
            )
        loss = math.nan
        if logits is not None and len(row) > 1:
            loss = float(torch.nn.functional.cross_entropy(logits[i, : len(row) - 1], row[1:]))
        yield states, loss


def text_scores(read: Sequence[tuple[Tensor, float]], metrics: Sequence[Metric]) -> dict[str, tuple[float, ...]]:
    """Metric -> one value per text, of what `hidden_states` gives."""
    taken: dict[str, Any] = {
        "mnn": lambda h, loss: float(matrix_nuclear_norm(h, per_token=True)),
        "nuclear": lambda h, loss: float(nuclear_norm(h)) / len(h),
        "entropy": lambda h, loss: float(matrix_entropy(h)),
        "erank": lambda h, loss: float(matrix_entropy(h, normalizer=None).exp()),
        "loss": lambda h, loss: loss,
    }
    return {metric: tuple(taken[metric](h, loss) for h, loss in read) for metric in metrics}


def _encoded(tokenizer: Any, text: str, max_length: int) -> Tensor:
    ids = tokenizer(text, truncation=True, max_length=max_length)["input_ids"]
    if not ids:
        raise ValueError(f"the tokenizer makes no token of the text {text[:40]!r}")
    return torch.tensor(ids)


def _padding(tokenizer: Any) -> int:
    for name in ("pad_token_id", "eos_token_id"):
        token = getattr(tokenizer, name, None)
        if token is not None:
            return int(token)
    return 0
