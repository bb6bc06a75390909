"""Task arithmetic: add the differences that fine-tuning made."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tameshi.merging.method import merge_method
from tameshi.merging.moves import moved
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
    return moved(base, models, [scale * weight for weight in weights], base)


@merge_method("transplant", title="Changes onto another model", papers=("2212.04089", "2410.10739"))
def transplant(models: Sequence[Tensor], base: Tensor, target: Tensor, *, weights: Sequence[float]) -> Tensor:
    """`theta_target + sum_i w_i (theta_i - theta_0)`: what fine-tuning changed, put on a relative of the base.

    A single change of weight 1 is summed as `theta_1 + (target - base)`: on the base itself it gives the fine-tuned
    model back bit by bit, however small its entries are beside the base's.

    Args:
        models: one tensor per model, of the base's shape.
        base: what they were fine-tuned from.
        target: what the changes are put on.
        weights: one per model; negative takes away.
    """
    if len(models) == 1 and weights[0] == 1:
        return moved(models[0], [target], [1.0], base, dtype=target.dtype)
    return moved(target, models, weights, base)


@merge_method("difference", title="Difference", papers=("2410.10739",), count=1)
def difference(models: Sequence[Tensor], base: Tensor) -> Tensor:
    """`theta_1 - theta_0`, in the storage type of the base: what fine-tuning changed.

    Args:
        models: one tensor, of the base's shape.
        base: what it was fine-tuned from.
    """
    return elementwise(lambda origin, model: model.sub_(origin), base, models[0])


@merge_method("add", title="Sum", papers=("2410.10739",))
def add(models: Sequence[Tensor], base: Tensor, *, weights: Sequence[float]) -> Tensor:
    """`theta_0 + sum_i w_i r_i`: changes that were saved, added to a model.

    Args:
        models: the changes, of the base's shape.
        base: what they are added to.
        weights: one per change.
    """

    def plus(origin: Tensor, *parts: Tensor) -> Tensor:
        for part, weight in zip(parts, weights, strict=True):
            origin.add_(part, alpha=weight)
        return origin

    return elementwise(plus, base, *models)
