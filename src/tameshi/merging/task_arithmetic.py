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
        moves = [part.sub_(origin) for part in parts]
        for i, move in zip(used, moves, strict=True):
            origin.add_(move, alpha=factors[i])
        return origin

    return elementwise(add, base, *(models[i] for i in used))


@merge_method("transplant", title="Changes onto another model", papers=("2212.04089", "2410.10739"))
def transplant(models: Sequence[Tensor], base: Tensor, target: Tensor, *, weights: Sequence[float]) -> Tensor:
    """`theta_target + sum_i w_i (theta_i - theta_0)`: what fine-tuning changed, put on a relative of the base.

    One change is summed as `(target - w base) + w theta_1`: on the base itself, a change of weight 1 gives the
    fine-tuned model back bit by bit, however small its entries are beside the base's.

    Args:
        models: one tensor per model, of the base's shape.
        base: what they were fine-tuned from.
        target: what the changes are put on.
        weights: one per model; negative takes away.
    """
    if len(models) == 1:
        weight = weights[0]
        return elementwise(
            lambda place, origin, model: place.sub_(origin, alpha=weight).add_(model, alpha=weight),
            target,
            base,
            models[0],
        )

    def add(place: Tensor, origin: Tensor, *parts: Tensor) -> Tensor:
        for part, weight in zip(parts, weights, strict=True):
            place.add_(part.sub_(origin), alpha=weight)
        return place

    return elementwise(add, target, base, *models)


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
