"""Merging along the sphere: SLERP of two models, of two changes, and the spherical mean of several models."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from tameshi.merging.linear import linear
from tameshi.merging.method import merge_method
from tameshi.merging.pieces import cosine, elementwise, gram

PARALLEL = 0.9995  # a larger |cosine| is merged linearly: the arc can no longer be told from the chord


@merge_method("slerp", title="SLERP", count=2)
def slerp(models: Sequence[Tensor], *, t: float = 0.5) -> Tensor:
    """The point at `t` on the arc between two tensors, which are flattened and not normalised.

    Fine-tuned siblings are nearly parallel (cosine above 0.9995 in most tensors), and there SLERP is linear merging:
    expect equal scores. `slerp-delta` is the method that differs.

    Args:
        models: two tensors of one shape.
        t: 0 is the first, 1 the second.

    Raises:
        ValueError: not two models.
    """
    first, second = _two(models)
    angle = cosine(gram(lambda a, b: (a, b), first, second), 0, 1)
    if abs(angle) > PARALLEL:
        _warn_if_opposite(angle)
        return linear([first, second], weights=(1 - t, t))
    one, two = _shares(angle, t)
    return elementwise(lambda a, b: a.mul_(one).add_(b, alpha=two), first, second)


@merge_method("slerp-delta", title="SLERP of the changes", count=2)
def slerp_delta(models: Sequence[Tensor], base: Tensor, *, t: float = 0.5) -> Tensor:
    """SLERP on what fine-tuning changed: `theta_0 + slerp(theta_1 - theta_0, theta_2 - theta_0)` (mergekit's nuslerp).

    Args:
        models: two tensors of the base's shape.
        base: the common ancestor.
        t: 0 is the first, 1 the second.

    Raises:
        ValueError: not two models.
    """
    first, second = _two(models)
    angle = cosine(gram(lambda o, a, b: (a.sub_(o), b.sub_(o)), base, first, second), 0, 1)
    _warn_if_opposite(angle)
    one, two = _shares(angle, t)
    return elementwise(
        lambda o, a, b: a.sub_(o).mul_(one).add_(b.sub_(o), alpha=two).add_(o), base, first, second, dtype=base.dtype
    )


@merge_method("multi-slerp", title="Spherical mean")
def multi_slerp(models: Sequence[Tensor], *, weights: Sequence[float]) -> Tensor:
    """The weighted mean of several models on the sphere, with the weighted mean of their lengths.

    The Karcher mean, found by repeated averaging in the tangent space. All points lie in the span of the models, so
    the search runs on their products alone. For two models of equal length it is SLERP.

    Args:
        models: at least one tensor, all of one shape.
        weights: one per model, not negative.

    Raises:
        ValueError: a weight is negative, or all are 0.
    """
    if min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights on the sphere must be at least 0 and not all 0, got {list(weights)}")
    share = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    products = gram(lambda *parts: parts, *models)
    lengths = products.diagonal().sqrt()
    if float(lengths.min()) == 0:
        return linear(models, weights=weights)
    cosines = (products / lengths / lengths[:, None]).clamp(-1, 1)
    if float(cosines.min()) > PARALLEL:
        return linear(models, weights=weights)
    mean = share.clone()  # coordinates in the unit vectors of the models
    for _ in range(100):
        norm = float((mean @ cosines @ mean).sqrt())
        if norm < 1e-8:
            warnings.warn("the models cancel out on the sphere; they are merged linearly instead", stacklevel=2)
            return linear(models, weights=weights)
        mean = mean / norm
        to_each = (cosines @ mean).clamp(-1, 1)
        angles = to_each.acos()
        factor = torch.where(angles > 1e-9, angles / angles.sin().clamp(min=1e-12), torch.ones_like(angles))
        step = share * factor - float((share * factor * to_each).sum()) * mean
        size = float((step @ cosines @ step).clamp(min=0).sqrt())
        if size < 1e-12:
            break
        mean = math.cos(size) * mean + math.sin(size) / size * step
    shares = [float(v) for v in mean / lengths * (share * lengths).sum()]

    def combine(*parts: Tensor) -> Tensor:
        result = parts[0].mul_(shares[0])
        for part, weight in zip(parts[1:], shares[1:], strict=True):
            result.add_(part, alpha=weight)
        return result

    return elementwise(combine, *models)


def _two(models: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    if len(models) != 2:
        raise ValueError(f"SLERP merges exactly two models, got {len(models)}; for more there is multi-slerp")
    return models[0], models[1]


def _shares(cosine: float, t: float) -> tuple[float, float]:
    """How much of the first and of the second lies in the point at `t` on the arc."""
    if abs(cosine) > PARALLEL:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def _warn_if_opposite(cosine: float) -> None:
    if cosine < -PARALLEL:
        warnings.warn(
            "two tensors point in opposite directions and have no arc; they are merged linearly", stacklevel=4
        )
