"""The sum that linear methods share: `start + sum_i w_i (theta_i - origin)`.

Averages, task arithmetic, LATA and the instruction residual are all of this form. Large bfloat16 tensors, which is
what models are stored as, take one compiled walk that reads each entry once; everything else goes piece by piece.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tameshi.merging.compiled import walk
from tameshi.merging.pieces import bits, compilable, elementwise, empty


def moved(
    start: Tensor,
    models: Sequence[Tensor],
    weights: Sequence[float],
    origin: Tensor,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """`start + sum_i w_i (theta_i - origin)`, in float32 (float64 for float64 storage), rounded once.

    Models that equal the origin leave `start` as it is, exactly. Models of weight 0 are not read.

    Args:
        start: what the changes are put on.
        models: one tensor per model, of its shape.
        weights: one per model.
        origin: what the models are seen from.
        dtype: of the result; None for that of `start`.
    """
    pairs = zip(models, weights, strict=True)
    used = [(model, float(weight)) for model, weight in pairs if weight and model is not origin]
    everything = [start, origin, *(model for model, _ in used)]
    factors = [weight for _, weight in used]
    wanted = dtype or start.dtype
    if wanted == torch.bfloat16 and compilable(*everything):
        result = empty(start.shape, dtype=wanted)
        walk(bits(result), bits(start), bits(origin), [bits(model) for model, _ in used], factors)
        return result

    def add(place: Tensor, centre: Tensor, *parts: Tensor) -> Tensor:
        for part, factor in zip(parts, factors, strict=True):
            place.add_(part.sub_(centre), alpha=factor)
        return place

    return elementwise(add, *everything, dtype=wanted)
