"""Worst-case inputs: exact ones for linear models, gradient ones for networks.

Norm and strength can differ between agents. For a linear score x·w and a loss that falls with the margin y x·w, the worst δ of
norm at most ε lowers the margin by ε times the dual norm of w, whatever the loss:

    p = 2: -ε y w / |w|,   p = inf: -ε y sign(w),   p = 1: -ε y sign(w_j) e_j at the largest |w_j|.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tameshi.graphs.edges import Floats

Norm = Literal[1, 2, "inf"]


def as_norm(norm: Any) -> Norm:
    """1, 2 or "inf" (also math.inf). ValueError otherwise."""
    if norm in (1, 2):
        return 1 if norm == 1 else 2
    if norm == "inf" or norm == np.inf:
        return "inf"
    raise ValueError(f"norm must be 1, 2 or inf, got {norm!r}")


def dual_norm(weights: Floats, norm: Norm) -> Floats:
    """What one unit of perturbation takes from the margin: the dual norm over the last axis."""
    if norm == 2:
        return np.asarray(np.sqrt(np.einsum("...i,...i->...", weights, weights)))
    return np.asarray(np.abs(weights).sum(axis=-1) if norm == "inf" else np.abs(weights).max(axis=-1))


def steepest(weights: Floats, norm: Norm) -> Floats:
    """The direction of unit norm along which x·w grows fastest; zero at w = 0 (our choice: any would do)."""
    if norm == "inf":
        return np.sign(weights)
    if norm == 1:
        largest = np.abs(weights).argmax(axis=-1)[..., None]
        found = np.zeros_like(weights)
        np.put_along_axis(found, largest, np.sign(np.take_along_axis(weights, largest, axis=-1)), axis=-1)
        return found
    length = dual_norm(weights, 2)[..., None]
    return weights / np.where(length > 0, length, 1)


def worst_linear(weights: Floats, labels: Floats, eps: Floats | float, norm: Norm = 2) -> Floats:
    """δ that lowers y x·w most. weights (..., d), labels ±1 and eps broadcast over the leading axes; returns (..., d)."""
    return -(np.asarray(eps) * labels)[..., None] * steepest(weights, norm)


def worst_squares(weights: Floats, residuals: Floats, eps: Floats | float, norm: Norm = 2) -> Floats:
    """δ that raises (r - δ·w)² most, r = d - u·w the residual; sign(0) counts as +1."""
    sign = np.where(residuals >= 0, 1.0, -1.0)
    return -(np.asarray(eps) * sign)[..., None] * steepest(weights, norm)


def robust_margin(
    inputs: Floats, labels: Floats, weights: Floats, eps: float, norm: Norm = 2, intercept: float = 0.0
) -> Floats:
    """(n,): y (x·w + b) - ε |w|*, the margin that no perturbation of norm ε can take away."""
    return np.asarray(labels * (inputs @ weights + intercept) - eps * dual_norm(weights, norm))


def boundary_distance(inputs: Floats, weights: Floats, intercept: float = 0.0) -> Floats:
    """(n,): how far each input lies from the boundary, |x·w + b| / |w|: what DeepFool finds for a linear model."""
    return np.asarray(np.abs(inputs @ weights + intercept) / dual_norm(weights, 2))


Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GradientAttack:
    """Gradient attack on cross-entropy: one step (FGM), or several projected ones from a random start (PGD).

    `attack(model, x, y)` gives perturbed inputs, detached. The model maps x (..., *sample) to logits (..., classes), and may be
    one network, or all agents' networks at once with the agents along the first axis.

    Args:
        eps: strength; a number, or a tensor with one per agent (the first axis of x).
        norm: 2 or "inf".
        steps: 1 is FGM from x itself.
        alpha: step size; None: 2.5 eps / steps (our choice).
        sample_dims: how many trailing axes of x make one sample.
        bounds: the data's range, if perturbed inputs must stay in it.
        seed: of the random starts.

    Raises:
        ValueError: a strength that is negative or not finite, another norm, no step.
    """

    eps: float | Tensor
    norm: Norm = 2
    steps: int = 7
    alpha: float | None = None
    sample_dims: int = 1
    bounds: tuple[float, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if as_norm(self.norm) == 1:
            raise ValueError("gradient attacks take norm 2 or inf; norm 1 is exact for linear models only")
        eps = torch.as_tensor(self.eps)
        if not bool(((eps >= 0) & torch.isfinite(eps)).all()):
            raise ValueError("eps must be finite and at least 0")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    @property
    def strengths(self) -> list[float]:
        """One per agent; empty where all have the same."""
        eps = torch.as_tensor(self.eps)
        return eps.tolist() if eps.ndim else []

    @staticmethod
    def random_start(shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Uniform in [-1, 1]."""
        return torch.rand(shape, generator=generator).mul_(2).sub_(1)

    def agent(self, k: int) -> GradientAttack:
        """The same attack with the strength of one agent."""
        return replace(self, eps=self.strengths[k]) if self.strengths else self

    def __call__(self, model: Model, x: Tensor, y: Tensor, start: Tensor | None = None) -> Tensor:
        """Perturbed inputs; `start` is a point of [-1, 1] per number of x, from which the first step leaves (PGD only)."""
        eps = self._radius(x)
        delta = torch.zeros_like(x)
        if self.steps > 1:
            if start is None:
                start = self.random_start(x.shape, torch.Generator().manual_seed(self.seed)).to(x.dtype)
            delta = self._inside(start * eps, eps)
        size = eps if self.steps == 1 else (2.5 * eps / self.steps if self.alpha is None else self.alpha)
        for _ in range(self.steps):
            delta = self._inside(delta + size * self._direction(model, x + delta, y), eps)
            if self.bounds is not None:
                delta = (x + delta).clamp(*self.bounds) - x
        return (x + delta).detach()

    def _radius(self, x: Tensor) -> Tensor:
        eps = torch.as_tensor(self.eps, dtype=x.dtype)
        if eps.ndim == 1 and len(eps) != len(x):
            raise ValueError(f"eps has {len(eps)} strengths for {len(x)} agents")
        return eps.reshape(-1, *[1] * (x.ndim - 1)) if eps.ndim else eps

    def _direction(self, model: Model, x: Tensor, y: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        logits = model(x)
        with torch.no_grad():  # the slope of cross-entropy at the logits: probabilities minus the truth
            slope = logits.softmax(dim=-1)
            slope.scatter_add_(-1, y[..., None], slope.new_full((*y.shape, 1), -1.0))
        (gradient,) = torch.autograd.grad(logits, x, slope)
        if self.norm == "inf":
            return gradient.sign()
        return gradient / self._length(gradient).clamp_min(1e-30)

    def _inside(self, delta: Tensor, eps: Tensor) -> Tensor:
        if self.norm == "inf":
            return torch.minimum(torch.maximum(delta, -eps), eps)
        return delta * (eps / self._length(delta).clamp_min(1e-30)).clamp_max(1.0)

    def _length(self, delta: Tensor) -> Tensor:
        axes = tuple(range(-self.sample_dims, 0))
        return delta.square().sum(dim=axes, keepdim=True).sqrt()


def fgm(eps: float | Tensor, norm: Norm = 2, **settings: Any) -> GradientAttack:
    """One step along the gradient: ε g/|g|, or ε sign g."""
    return GradientAttack(eps, norm, steps=1, **settings)


def pgd(eps: float | Tensor, norm: Norm = 2, steps: int = 7, **settings: Any) -> GradientAttack:
    """`steps` projected steps from a random point of the ball."""
    return GradientAttack(eps, norm, steps=steps, **settings)


def random_search(
    model: Model, x: Tensor, y: Tensor, eps: float, norm: Norm = 2, *, tries: int = 200, seed: int = 0
) -> Tensor:
    """(n,): whether each sample of (n, d) stays right under every one of `tries` random perturbations on the ball's surface.

    A gradient attack that leaves more samples right than this has been misled (masked gradients), and says nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    right = torch.ones(len(x), dtype=torch.bool)
    for _ in range(tries):
        delta = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        delta = (
            delta.sign() if as_norm(norm) == "inf" else delta / torch.linalg.vector_norm(delta, dim=-1, keepdim=True)
        )
        with torch.no_grad():
            right &= model(x + eps * delta).argmax(dim=-1) == y
    return right
