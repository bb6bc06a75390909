"""Moving rotated keys and queries to other positions."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class Rotary:
    """The rotary embedding of a model, whatever its layout: half-split or interleaved, of the whole head or a part.

    Args:
        model: whose embedding it is.

    Raises:
        ValueError: the model has no rotary embedding that can be called from outside.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        found = [(name, m) for name, m in model.named_modules() if name.split(".")[-1] == "rotary_emb"]
        self._apply = getattr(sys.modules[type(model).__module__], "apply_rotary_pos_emb", None)
        if len(found) != 1 or self._apply is None:
            raise ValueError(
                f"{type(model).__name__} has no single rotary embedding that keys could be moved with; "
                "use a policy that leaves keys at their positions"
            )
        self._embedding: nn.Module = found[0][1]
        self._by_type = "layer_type" in inspect.signature(self._embedding.forward).parameters
        self._layer_types: Any = getattr(model.config.get_text_config(decoder=True), "layer_types", None)

    def angles(self, positions: Tensor, layer: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (rows, length, rotary_dim) in float32, of positions (rows, length)."""
        kind = {"layer_type": self._layer_types[layer]} if self._by_type else {}
        cosines, sines = self._embedding(like.float(), position_ids=positions.long(), **kind)
        return cosines, sines

    def turn(self, tensor: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Rotate: tensor (rows, heads, length, head_dim), angles (rows, length, rotary_dim)."""
        assert self._apply is not None
        turned: Tensor = self._apply(tensor, tensor, cosines, sines)[0]
        return turned

    def move(self, tensor: Tensor, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """Keys or queries as they would be, had they been read at other positions.

        Args:
            tensor: (batch, heads, length, head_dim), rotated to `source`.
            source, target: (batch, heads, length), positions; heads may be 1.
            layer: index of the layer, for models whose layers rotate differently.

        Returns:
            Like `tensor`, rotated to `target`; in its dtype, computed in float32.
        """
        batch, heads, length, dim = tensor.shape
        flat = tensor.float().reshape(batch * heads, 1, length, dim)

        def angles_at(positions: Tensor) -> tuple[Tensor, Tensor]:
            return self.angles(positions.expand(batch, heads, length).reshape(-1, length), layer, flat)

        (cos_from, sin_from), (cos_to, sin_to) = angles_at(source), angles_at(target)
        # The angle between the two. Some embeddings (YaRN) also scale; the scale is already in the tensor.
        scale = (cos_from.square() + sin_from.square())[..., :1]
        cosines = (cos_to * cos_from + sin_to * sin_from) / scale
        sines = (sin_to * cos_from - cos_to * sin_from) / scale
        return self.turn(flat, cosines, sines).reshape(tensor.shape).to(tensor.dtype)

    def expected(self, tensor: Tensor, first: int, last: int, layer: int) -> Tensor:
        """The mean of unrotated vectors (rows, heads, length, head_dim) over all positions in first..last-1."""
        positions = torch.arange(first, last, device=tensor.device)[None]
        cosines, sines = (a.mean(-2, keepdim=True) for a in self.angles(positions, layer, tensor))
        return self.turn(tensor, cosines, sines)
