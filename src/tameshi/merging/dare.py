"""DARE: drop entries of the change at random and scale up the rest; alone, or before the election of TIES."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tameshi.merging.method import merge_method
from tameshi.merging.pieces import elementwise, pieces
from tameshi.merging.ties import elect, spread

Rescale = Literal["density", "l1", "none"]


@merge_method("dare", title="DARE", papers=("2311.03099", "2212.04089"))
def dare(
    models: Sequence[Tensor],
    base: Tensor,
    *,
    draws: Sequence[torch.Generator],
    weights: Sequence[float],
    densities: Sequence[float] = (0.5,),
    scale: float = 1.0,
    rescale: Rescale = "density",
) -> Tensor:
    """Task arithmetic on changes of which a random share is dropped (Yu et al. 2024, arXiv:2311.03099).

    Args:
        models: one tensor per model, of the base's shape.
        base: the common ancestor.
        draws: one generator per model.
        weights: one per model.
        densities: probability of keeping an entry, in (0, 1], one per model or one for all; the paper's 1 - p.
        scale: of the sum.
        rescale: "density" divides what is kept by its density (the paper), "l1" restores the L1 norm of the tensor
            (mergekit's `rescale: true`), "none" leaves it.

    Raises:
        ValueError: a density outside (0, 1].
    """
    drop = _Drop(models, base, draws, densities, rescale)

    def merge(origin: Tensor, *parts: Tensor) -> Tensor:
        deltas = drop(origin, parts)
        for delta, weight in zip(deltas, weights, strict=True):
            origin.add_(delta, alpha=scale * weight)
        return origin

    return elementwise(merge, base, *models)


@merge_method("dare-ties", title="DARE with TIES election", papers=("2311.03099", "2306.01708"))
def dare_ties(
    models: Sequence[Tensor],
    base: Tensor,
    *,
    draws: Sequence[torch.Generator],
    weights: Sequence[float],
    densities: Sequence[float] = (0.5,),
    scale: float = 1.0,
    rescale: Rescale = "density",
    normalize: bool = True,
) -> Tensor:
    """The sign election of TIES on changes of which a random share is dropped, in place of its trimming.

    Args:
        models, base, draws, weights, densities, scale, rescale: as of `dare`.
        normalize: divide by the weights of the models that agree, as of `ties`.

    Raises:
        ValueError: a density outside (0, 1].
    """
    drop = _Drop(models, base, draws, densities, rescale)

    def merge(origin: Tensor, *parts: Tensor) -> Tensor:
        deltas = drop(origin, parts)
        return origin.add_(elect(deltas, weights, normalize=normalize), alpha=scale)

    return elementwise(merge, base, *models)


class _Drop:
    """Turns pieces of models into pieces of thinned deltas. A generator is read in the order of the entries."""

    def __init__(
        self,
        models: Sequence[Tensor],
        base: Tensor,
        draws: Sequence[torch.Generator],
        densities: Sequence[float],
        rescale: Rescale,
    ) -> None:
        self.densities = spread(densities, len(models))
        self.draws = draws
        if rescale not in ("density", "l1", "none"):
            raise ValueError(f"rescale must be 'density', 'l1' or 'none', got {rescale!r}")
        self.factors = [1 / d if rescale == "density" else 1.0 for d in self.densities]
        if rescale == "l1":
            for i, (model, density) in enumerate(zip(models, self.densities, strict=True)):
                state = draws[i].get_state()
                before, after = 0.0, 0.0
                for part, origin in pieces(model, base):
                    delta = part.sub_(origin)
                    before += float(delta.abs().sum(dtype=torch.float64))
                    after += float(_thin(delta, density, draws[i]).abs_().sum(dtype=torch.float64))
                draws[i].set_state(state)  # the walk that merges must see the same mask
                self.factors[i] = before / after if after else 1.0

    def __call__(self, origin: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
        kept = []
        for part, density, draw, factor in zip(parts, self.densities, self.draws, self.factors, strict=True):
            delta = _thin(part.sub_(origin), density, draw)
            kept.append(delta.mul_(factor) if factor != 1 else delta)
        return kept


def _thin(delta: Tensor, density: float, draw: torch.Generator) -> Tensor:
    return delta if density == 1 else delta.mul_(torch.empty_like(delta).bernoulli_(density, generator=draw))
