"""The weighted average of models: linear merging, model soups, WiSE-FT."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from tameshi.merging.method import merge_method
from tameshi.merging.moves import moved
from tameshi.merging.pieces import elementwise


@merge_method("linear", title="Linear", papers=("2203.05482", "2109.01903"))
def linear(models: Sequence[Tensor], *, weights: Sequence[float], normalize: bool = True) -> Tensor:
    """Weighted average of the models, `sum_i w_i theta_i` (Wortsman et al. 2022, arXiv:2203.05482).

    With two models and weights (1 - a, a) this is the interpolation of WiSE-FT (arXiv:2109.01903).

    Args:
        models: one tensor per model, of one shape.
        weights: one per model.
        normalize: divide the weights by their sum.

    Raises:
        ValueError: the weights sum to 0 and should be normalised.
    """
    total = sum(weights)
    if not normalize:
        if abs(total - 1) > 1e-6:
            warnings.warn(
                "weights that are not normalised and do not sum to 1 change the size of the whole model", stacklevel=3
            )
        return elementwise(lambda *parts: _combine(parts, weights), *models)
    if total == 0:
        raise ValueError(f"weights that are normalised must not sum to 0, got {list(weights)}; pass normalize=False")
    # Written around the heaviest model, so that equal models give that model and the weights (0, 1) the second one,
    # exactly.
    shares = [w / total for w in weights]
    heaviest = max(range(len(shares)), key=lambda i: abs(shares[i]))
    return moved(models[heaviest], models, shares, models[heaviest], dtype=models[0].dtype)


def _combine(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    result = parts[0].mul_(weights[0])
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        result.add_(part, alpha=weight)
    return result
