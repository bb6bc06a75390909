"""A target whose scores are exact: a mixture of Gaussians in one dimension, or a product of such mixtures in many."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from tameshi.diffusion.levels import Floats


class GaussianMixtureScore:
    """Called as `mixture(x, ᾱ)`: the score at a level, elementwise, so that an array is a product of mixtures.

    Args:
        weights: (m,) positive, scaled to sum 1.
        means: (m,).
        sds: (m,) standard deviations, positive.
    """

    def __init__(self, weights: Any, means: Any, sds: Any) -> None:
        weights, means, sds = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (weights, means, sds))
        if not weights.shape == means.shape == sds.shape or weights.ndim != 1:
            raise ValueError(f"weights, means and sds must be as many, got {weights.shape}, {means.shape}, {sds.shape}")
        if not (np.isfinite(means).all() and (weights > 0).all() and (sds > 0).all()):
            raise ValueError("a mixture needs positive weights, finite means and positive standard deviations")
        self.weights, self.means, self.sds = weights / weights.sum(), means, sds

    def standardised(self) -> GaussianMixtureScore:
        """The same mixture, moved and scaled to mean 0 and variance 1."""
        mean = self.weights @ self.means
        scale = math.sqrt(self.weights @ (self.sds**2 + (self.means - mean) ** 2))
        return GaussianMixtureScore(self.weights, (self.means - mean) / scale, self.sds / scale)

    def sharpened(self, factor: float) -> GaussianMixtureScore:
        """The same with standard deviations multiplied; 0.1 is nearly three points."""
        return GaussianMixtureScore(self.weights, self.means, self.sds * factor)

    def density(self, x: Floats, alpha_bar: float = 1.0) -> Floats:
        """p(x) at a level; x any shape."""
        means, variances = self._at(alpha_bar)
        z = (x[..., None] - means) ** 2 / variances
        return np.asarray((self.weights * np.exp(-z / 2) / np.sqrt(2 * math.pi * variances)).sum(axis=-1))

    def __call__(self, x: Any, alpha_bar: float) -> Any:
        """∇ log p(x) at a level; NumPy array or torch tensor, any shape."""
        means, variances = self._at(alpha_bar)
        logs = np.log(self.weights) - np.log(variances) / 2
        if isinstance(x, torch.Tensor):
            means, variances, logs = (
                torch.as_tensor(v, dtype=x.dtype, device=x.device) for v in (means, variances, logs)
            )
            gaps = means - x[..., None]
            shares = (logs - gaps**2 / (2 * variances)).softmax(dim=-1)
        else:
            gaps = means - x[..., None]
            exponents = logs - gaps**2 / (2 * variances)
            shares = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
            shares /= shares.sum(axis=-1, keepdims=True)
        return (shares * gaps / variances).sum(-1)

    def draw(self, count: int, *, seed: int, alpha_bar: float = 1.0) -> Floats:
        """Samples (count,) of X at a level."""
        rng = np.random.default_rng(seed)
        means, variances = self._at(alpha_bar)
        part = rng.choice(len(self.weights), size=count, p=self.weights)
        return np.asarray(means[part] + np.sqrt(variances[part]) * rng.normal(size=count))

    def _at(self, alpha_bar: float) -> tuple[Any, Any]:
        return math.sqrt(alpha_bar) * self.means, alpha_bar * self.sds**2 + 1 - alpha_bar


def gaussian_score(variance: Any) -> Any:
    """The score of N(0, variance) at a level, as a function (x, ᾱ); variance broadcasts against x."""
    return lambda x, alpha_bar: -x / (alpha_bar * variance + 1 - alpha_bar)
