"""Texts as vectors out of a model's own layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.evaluation.implicit_bias.measured import Floats
from tameshi.evaluation.implicit_bias.tokens import device_of, padded, token_ids, torch

Pooling = Literal["mean", "last"]
BATCH = 64


class HiddenStateEncoder:
    """Texts as vectors out of a model's own layers: `weat(..., encode=HiddenStateEncoder(model, tokenizer))`.

    Args:
        model: any transformers model that returns hidden states.
        tokenizer: its tokenizer.
        pooling: "mean" over the text's own tokens, or the "last" of them.
        layer: -1 the last hidden layer, 0 the input embeddings.

    Raises:
        ValueError: another pooling, or a layer that the model does not have.
    """

    def __init__(self, model: Any, tokenizer: Any, *, pooling: Pooling = "mean", layer: int = -1) -> None:
        if pooling not in ("mean", "last"):
            raise ValueError(f"pooling must be mean or last, got {pooling!r}")
        layers = int(model.config.num_hidden_layers)
        if not -layers - 1 <= layer <= layers:
            raise ValueError(f"layer must be at most {layers} for this model, got {layer}")
        self.model, self.tokenizer, self.pooling, self.layer = model, tokenizer, pooling, layer

    def __call__(self, texts: Sequence[str]) -> Floats:
        """(texts, hidden size), float64."""
        found = []
        for start in range(0, len(texts), BATCH):
            tokens = [token_ids(self.tokenizer, t, special=self.layer != 0) for t in texts[start : start + BATCH]]
            ids, mask = padded(tokens, device_of(self.model))
            with torch.no_grad():
                if self.layer == 0:
                    hidden = self.model.get_input_embeddings()(ids)
                else:
                    hidden = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[
                        self.layer
                    ]
            hidden = hidden.double()
            if self.pooling == "mean":
                pooled = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
            else:
                pooled = hidden[torch.arange(len(tokens)), mask.sum(dim=1) - 1]
            found.append(pooled.cpu().numpy())
        return np.concatenate(found)

    encode = __call__


def token_counts(tokenizer: Any, contrast: Contrast) -> tuple[float, float, str]:
    """Mean tokens a term of X and of Y, and a warning where they differ: length and frequency drive every vector."""
    x, y = (float(np.mean([len(token_ids(tokenizer, t)) for t in terms])) for terms in (contrast.x, contrast.y))
    if abs(x - y) <= 0.25 * min(x, y):
        return x, y, ""
    return (
        x,
        y,
        f"terms of {contrast.x_label} have {x:.1f} tokens, of {contrast.y_label} {y:.1f}; that alone moves a measure",
    )
