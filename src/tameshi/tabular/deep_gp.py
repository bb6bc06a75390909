"""A deep Gaussian process of two layers, trained by doubly stochastic variational inference.

Salimbeni & Deisenroth 2017. Each layer is a sparse Gaussian process with M inducing inputs Z and whitened values v ~
N(m, S S'): with A = chol(K_ZZ)^-1 K_Zx an output at x is Gaussian with

    mean  mu(x) + A'm,        variance  k(x, x) - |A|^2 + |S'A|^2

and the loss is the expected negative log-likelihood, with a draw passed from layer to layer, plus the divergence of
every layer's v from N(0, I) over the number of rows. The hidden layer has as many outputs as inputs and the identity
as its mean, so it starts as a small bend of the input.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from tameshi.tabular.descent import batches, descend, inputs, refuse_training, standardise

Floats = NDArray[np.float64]

JITTER = 1e-6
CHUNK = 1024  # rows predicted at once


class _Layer(NamedTuple):
    """One sparse Gaussian process with an RBF kernel that has a length of its own for every input."""

    inducing: Tensor  # (M, in)
    mean: Tensor  # (M, out), whitened
    root: Tensor  # (out, M, M), lower triangle of the covariance's factor, whitened
    log_length: Tensor  # (in,)
    log_scale: Tensor  # (): logarithm of the kernel's standard deviation


class DeepGPRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Deep Gaussian process regression with `predict(X, return_std=True)`.

    Time of a step is O(inducing^2 (batch + inducing) x columns).

    Args:
        inducing: inducing inputs of each layer, at most the rows (our choice 64; the paper's settings were not found).
        layers: hidden layers before the last; 0 is a plain sparse Gaussian process.
        steps: of Adam, with a cosine that falls to zero.
        learning_rate: of Adam.
        batch_size: rows of a step; None is all rows.
        draws: through the layers for a prediction.
        random_state: of inducing inputs, batches and draws.

    Attributes:
        layers_: a list of the arrays of each layer. noise_: standard deviation of the noise, in the unit of the target.
        x_mean_, x_scale_, y_mean_, y_scale_: of the standardisation.

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(
        self,
        inducing: int = 64,
        layers: int = 1,
        steps: int = 1500,
        learning_rate: float = 1e-2,
        batch_size: int | None = 256,
        draws: int = 10,
        random_state: Any = 0,
    ) -> None:
        self.inducing = inducing
        self.layers = layers
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.draws = draws
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (rows, columns) and y (rows,)."""
        self._refuse()
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        standardise(self, X, np.asarray(y, dtype=np.float64))
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        generator = torch.Generator().manual_seed(self.seed_)
        rows = torch.from_numpy(inputs(self, X))
        target = torch.from_numpy((y - self.y_mean_) / self.y_scale_)
        layers = self._start(rows.numpy())
        log_noise = torch.tensor(math.log(0.1), dtype=torch.float64)
        flat = [tensor.requires_grad_() for tensor in [*(t for layer in layers for t in layer), log_noise]]
        parts = batches([generator], len(rows), self.batch_size)

        def loss(step: int) -> Tensor:
            picked = slice(None) if parts is None else parts.next()[0]
            mean, variance = _through(layers, rows[picked], generator)
            noise = torch.exp(2 * log_noise)
            misfit = ((target[picked] - mean) ** 2 + variance) / noise
            apart = torch.stack([divergence(layer.mean, layer.root) for layer in layers]).sum()
            return (misfit / 2 + log_noise).mean() + apart / len(rows)

        descend(flat, loss, steps=self.steps, learning_rate=self.learning_rate)
        self.layers_ = [[tensor.detach().numpy() for tensor in layer] for layer in layers]
        self.noise_ = math.exp(float(log_noise.detach())) * self.y_scale_
        return self

    def predict(self, X: Any, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """Predict for X (rows, columns): mean (rows,), and with `return_std` the standard deviation (rows,).

        The draws are the same standard normals for every row and every call, so a row's answer does not depend on its
        neighbours.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        layers = [_Layer(*(torch.from_numpy(np.asarray(array)) for array in layer)) for layer in self.layers_]
        rows = torch.from_numpy(inputs(self, X))
        generator = torch.Generator().manual_seed(self.seed_)
        widths = [layer.mean.shape[1] for layer in layers[:-1]]
        means, variances = np.empty((self.draws, len(X))), np.empty((self.draws, len(X)))
        with torch.no_grad():
            for draw in range(self.draws):
                normals = [torch.randn(width, generator=generator, dtype=torch.float64) for width in widths]
                for at in range(0, len(X), CHUNK):
                    part = slice(at, at + CHUNK)
                    centre, variance = _through(layers, rows[part], normals=normals)
                    means[draw, part], variances[draw, part] = centre.numpy(), variance.numpy()
        mean = np.asarray(means.mean(axis=0) * self.y_scale_ + self.y_mean_)
        if not return_std:
            return mean
        spread = (variances.mean(axis=0) + means.var(axis=0)) * self.y_scale_**2
        return mean, np.sqrt(spread + self.noise_**2)

    def _start(self, rows: Floats) -> list[_Layer]:
        count = min(self.inducing, len(np.unique(rows, axis=0)))
        means = KMeans(count, n_init=1, random_state=self.seed_).fit(rows)
        inducing = torch.from_numpy(np.ascontiguousarray(means.cluster_centers_, dtype=np.float64))
        columns = rows.shape[1]
        made = []
        for place in range(self.layers + 1):
            out = columns if place < self.layers else 1
            small = 1e-3 if place < self.layers else 1.0  # a hidden layer starts sure, as the authors advise
            made.append(
                _Layer(
                    inducing.clone(),
                    torch.zeros(count, out, dtype=torch.float64),
                    (small * torch.eye(count, dtype=torch.float64)).repeat(out, 1, 1),
                    torch.full((columns,), math.log(math.sqrt(columns)), dtype=torch.float64),
                    torch.tensor(0.0 if place == self.layers else math.log(0.1), dtype=torch.float64),
                )
            )
        return made

    def _refuse(self) -> None:
        refuse_training(self)
        for name, least in (("inducing", 1), ("layers", 0), ("draws", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


def conditional(layer: _Layer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the outputs at x (rows, in), each (rows, out), without the layer's mean function."""
    length, amplitude = layer.log_length.exp(), torch.exp(2 * layer.log_scale)
    z = layer.inducing / length
    factor = torch.linalg.cholesky(amplitude * _rbf(z, z) + JITTER * amplitude * torch.eye(len(z), dtype=x.dtype))
    a = torch.linalg.solve_triangular(factor, amplitude * _rbf(z, x / length), upper=False)  # (M, rows)
    mean = a.T @ layer.mean
    kept = torch.tril(layer.root).transpose(1, 2) @ a  # (out, M, rows)
    variance = amplitude - (a * a).sum(dim=0) + (kept * kept).sum(dim=1)
    return mean, variance.T.clamp_min(1e-12)


def divergence(mean: Tensor, root: Tensor) -> Tensor:
    """KL(N(m, S S') || N(0, I)) over all outputs, in nats; mean (M, out), root (out, M, M), its lower triangle is S."""
    lower = torch.tril(root)
    diagonal = torch.diagonal(lower, dim1=1, dim2=2)
    return ((lower * lower).sum() + (mean * mean).sum() - mean.numel()) / 2 - diagonal.abs().log().sum()


def _through(
    layers: list[_Layer],
    x: Tensor,
    generator: torch.Generator | None = None,
    *,
    normals: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean and variance (rows,) of the last layer, after one draw of the hidden ones."""
    for place, layer in enumerate(layers[:-1]):
        mean, variance = conditional(layer, x)
        drawn = torch.empty_like(mean).normal_(generator=generator) if normals is None else normals[place]
        x = x + mean + (variance + 1e-12).sqrt() * drawn
    mean, variance = conditional(layers[-1], x)
    return mean[:, 0], variance[:, 0]


def _rbf(left: Tensor, right: Tensor) -> Tensor:
    squares = (left * left).sum(dim=1)[:, None] + (right * right).sum(dim=1) - 2 * left @ right.T
    return torch.exp(-squares.clamp_min(0) / 2)
