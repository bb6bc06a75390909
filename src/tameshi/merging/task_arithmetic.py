"""Task arithmetic: add the differences that fine-tuning made."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tameshi.merging.method import merge_method
from tameshi.merging.pieces import elementwise


@merge_method("task-arithmetic", title="Task arithmetic", papers=("2212.04089",))
def task_arithmetic(models: Sequence[Tensor], base: Tensor, *, weights: Sequence[float], scale: float = 1.0) -> Tensor:
    """`theta_0 + scale * sum_i w_i (theta_i - theta_0)` (Ilharco et al. 2023, arXiv:2212.04089).

    Args:
        models: one tensor per model, of the base's shape.
        base: the common ancestor.
        weights: one per model; negative forgets.
        scale: of the sum.
    """
    factors = [scale * w for w in weights]
    used = [i for i, factor in enumerate(factors) if factor]

    def add(origin: Tensor, *parts: Tensor) -> Tensor:
        moves = [part.sub_(origin).mul_(factors[i]) for i, part in zip(used, parts, strict=True)]
        for move in moves:
            origin.add_(move)
        return origin

    return elementwise(add, base, *(models[i] for i in used))
