"""TIES: trim small changes, elect a sign per entry, average what agrees with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tameshi.merging.method import merge_method
from tameshi.merging.pieces import elementwise, smallest_kept


@merge_method("ties", title="TIES", papers=("2306.01708",))
def ties(
    models: Sequence[Tensor],
    base: Tensor,
    *,
    weights: Sequence[float],
    densities: Sequence[float] = (0.5,),
    scale: float = 1.0,
    normalize: bool = True,
) -> Tensor:
    """TIES merging (Yadav et al. 2023, arXiv:2306.01708).

    Trimmed per tensor, as mergekit does and the DARE authors did; the authors' own code trims over the whole model.
    Entries as large as the smallest one kept are all kept, and of a tensor too small for the density, the largest.

    Args:
        models: one tensor per model, of the base's shape.
        base: the common ancestor.
        weights: one per model; they weigh the vote and the average.
        densities: share of the entries kept, in (0, 1], one per model or one for all.
        scale: the paper's lambda.
        normalize: divide by the weights of the models that agree.

    Raises:
        ValueError: a density outside (0, 1].
    """
    shares = spread(densities, len(models))
    cuts = [smallest_kept(m, base, d) if d < 1 and m.numel() else 0.0 for m, d in zip(models, shares, strict=True)]

    def merge(origin: Tensor, *parts: Tensor) -> Tensor:
        deltas = [part.sub_(origin) for part in parts]
        for delta, cut in zip(deltas, cuts, strict=True):
            if cut:
                delta.mul_(delta.abs() >= cut)
        return origin.add_(elect(deltas, weights, normalize=normalize), alpha=scale)

    return elementwise(merge, base, *models)


def elect(deltas: Sequence[Tensor], weights: Sequence[float], *, normalize: bool) -> Tensor:
    """Average, per entry, the weighted deltas whose sign is that of their sum; a sum of 0 counts as positive.

    Args:
        deltas: one per model, of one shape; overwritten.
        weights: one per model.
        normalize: divide by the weights of the deltas that agree (by 1 where these sum to 0).
    """
    weighted = [delta.mul_(weight) for delta, weight in zip(deltas, weights, strict=True)]
    total = weighted[0].clone()
    for delta in weighted[1:]:
        total.add_(delta)
    sign = (total >= 0).to(total.dtype).mul_(2).sub_(1)
    agreed, divisor = torch.zeros_like(total), torch.zeros_like(total)
    for delta, weight in zip(weighted, weights, strict=True):
        agrees = (delta * sign) > 0
        agreed.add_(delta.mul_(agrees))
        if normalize:
            divisor.add_(agrees, alpha=weight)
    return agreed.div_(divisor.masked_fill_(divisor == 0, 1)) if normalize else agreed


def spread(densities: Sequence[float], count: int) -> Sequence[float]:
    """One density per model.

    Raises:
        ValueError: not in (0, 1], or neither one nor `count` of them.
    """
    for density in densities:
        if not 0 < density <= 1:
            raise ValueError(f"density must be in (0, 1], got {density}; 0.5 keeps the larger half of the changes")
    if len(densities) not in (1, count):
        raise ValueError(f"densities must be one number or one per model ({count}), got {len(densities)}")
    return list(densities) * count if len(densities) == 1 else densities
