"""What a model makes of texts: hidden states, losses, and the scores of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from tameshi.evaluation.matrix_nuclear_norm.norms import matrix_entropy, matrix_nuclear_norm, nuclear_norm

Metric: TypeAlias = Literal["mnn", "nuclear", "entropy", "erank", "loss"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Read: TypeAlias = list[tuple[Tensor, float]]
"""Of every text: hidden states, (tokens, width), and the loss in nats per token."""


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


def encoded(model: Any, tokenizer: Any, texts: Sequence[str], *, max_length: int) -> list[Tensor]:
    """The tokens of each text, (tokens,), int64; cut to `max_length`, and to the positions that the model has.

    Raises:
        ValueError: the tokenizer has no token for something in a text; names the text by its number.
    """
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    longest = max_length if positions is None else min(max_length, positions)
    found = []
    for number, text in enumerate(texts, 1):
        try:
            ids = tokenizer(text, truncation=True, max_length=longest)["input_ids"]
        except Exception as error:  # tokenizers raises nothing narrower
            raise ValueError(f"the tokenizer cannot read text {number}: {error}") from error
        found.append(torch.tensor(ids, dtype=torch.long))
    return found


def padding_token(tokenizer: Any) -> int:
    """The token to pad with: the tokenizer's, or its end of text, or the first; padding is masked in any case."""
    for name in ("pad_token_id", "eos_token_id"):
        token = getattr(tokenizer, name, None)
        if token is not None:
            return int(token)
    return 0
