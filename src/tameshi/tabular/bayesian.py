"""A Bayesian network: Gaussian weights, trained by Bayes by backprop with the local reparameterisation.

Blundell et al. 2015; Kingma et al. 2015. Every weight has a mean and a standard deviation; with inputs h a layer's
outputs are drawn from N(h m, h^2 s^2), one draw a row, and the loss is

    mean negative log-likelihood + (ramp / rows) KL(weights || prior)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from torch.nn.functional import softplus

from tameshi.tabular.descent import batches, descend, inputs, refuse_hidden, refuse_training, standardise

Floats = NDArray[np.float64]

RHO = -5.0  # softplus(-5) = 0.0067: the networks start almost sure of themselves
RAMP = 0.3  # share of the steps in which the weight of the KL rises to 1


class _Layer(NamedTuple):
    mean: Tensor  # (in, out)
    rho: Tensor  # (in, out); the standard deviation is softplus(rho)
    bias: Tensor  # (out,), without uncertainty


class BayesianMLPRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A tanh network with mean-field Gaussian weights and one learned noise.

    Args:
        hidden: widths of the hidden layers (our choice, as are all settings here: the paper's were not found).
        steps: of Adam, with a cosine that falls to zero.
        learning_rate: of Adam.
        batch_size: rows of a step; None is all rows.
        draws: of weights for a prediction; at least 2.
        random_state: of weights, batches and draws.

    Attributes:
        means_, rhos_, biases_: one array a layer. noise_: standard deviation of the noise, in the unit of the target.
        x_mean_, x_scale_, y_mean_, y_scale_: of the standardisation.

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        steps: int = 2500,
        learning_rate: float = 3e-3,
        batch_size: int | None = 256,
        draws: int = 100,
        random_state: Any = 0,
    ) -> None:
        self.hidden = hidden
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.draws = draws
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (rows, columns) and y (rows,)."""
        refuse_hidden(self.hidden)
        refuse_training(self)
        if self.draws < 2:
            raise ValueError(f"draws must be at least 2, for one draw has no spread, got {self.draws}")
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        standardise(self, X, np.asarray(y, dtype=np.float64))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.seed_ = seed
        generator = torch.Generator().manual_seed(seed)
        rows = torch.from_numpy(inputs(self, X).astype(np.float32))
        target = torch.from_numpy(((y - self.y_mean_) / self.y_scale_).astype(np.float32))
        layers = _start(generator, [X.shape[1], *self.hidden, 1])
        log_noise = torch.tensor(-1.0)
        flat = [tensor.requires_grad_() for tensor in [*(t for layer in layers for t in layer), log_noise]]
        parts = batches([generator], len(rows), self.batch_size)

        def loss(step: int) -> Tensor:
            picked = slice(None) if parts is None else parts.next()[0]
            out = _drawn(layers, rows[picked], generator)[:, 0]
            likelihood = ((out - target[picked]) ** 2 * torch.exp(-2 * log_noise) / 2 + log_noise).mean()
            ramp = min(1.0, (step + 1) / max(1.0, RAMP * self.steps))
            return likelihood + ramp / len(rows) * divergence(layers)

        descend(flat, loss, steps=self.steps, learning_rate=self.learning_rate)
        self.means_ = [layer.mean.detach().double().numpy() for layer in layers]
        self.rhos_ = [layer.rho.detach().double().numpy() for layer in layers]
        self.biases_ = [layer.bias.detach().double().numpy() for layer in layers]
        self.noise_ = math.exp(float(log_noise.detach())) * self.y_scale_
        return self

    def predict(self, X: Any, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """Predict for X (rows, columns): mean (rows,), and with `return_std` the standard deviation (rows,).

        The same weights are drawn for every row and every call, so a row's answer does not depend on its neighbours.
        """
        each = self.predict_draws(X)
        mean = each.mean(axis=0)
        return (mean, np.sqrt(each.var(axis=0, ddof=1) + self.noise_**2)) if return_std else mean

    def predict_draws(self, X: Any) -> Floats:
        """Predictions of every draw of weights, without noise, (draws, rows)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        generator = np.random.default_rng(self.seed_)
        rows, found = inputs(self, X), np.empty((self.draws, len(X)))
        for draw in range(self.draws):
            h = rows
            for place, (mean, rho, bias) in enumerate(zip(self.means_, self.rhos_, self.biases_, strict=True)):
                weight = mean + np.logaddexp(0, rho) * generator.standard_normal(mean.shape)
                h = h @ weight + bias
                if place < len(self.means_) - 1:
                    h = np.tanh(h)
            found[draw] = h[:, 0]
        return np.asarray(found * self.y_scale_ + self.y_mean_)


def divergence(layers: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """KL(N(mean, softplus(rho)^2) || N(0, 1/in)) over all weights, in nats."""
    total = torch.zeros(())
    for mean, rho, _ in layers:
        deviation, prior = softplus(rho), 1 / math.sqrt(mean.shape[0])
        ratio = deviation / prior
        total = total + ((ratio**2 + (mean / prior) ** 2 - 1) / 2 - ratio.log()).sum()
    return total


def _drawn(layers: Sequence[_Layer], x: Tensor, generator: torch.Generator) -> Tensor:
    """Outputs with one draw of weights for each row."""
    for place, (mean, rho, bias) in enumerate(layers):
        centre = torch.addmm(bias, x, mean)
        variance = (x * x) @ softplus(rho) ** 2
        noise = torch.empty_like(centre).normal_(generator=generator)
        x = centre + (variance + 1e-12).sqrt() * noise
        if place < len(layers) - 1:
            x = torch.tanh(x)
    return x


def _start(generator: torch.Generator, widths: Sequence[int]) -> list[_Layer]:
    layers = []
    for inner, outer in pairwise(widths):
        mean = torch.randn(inner, outer, generator=generator) / math.sqrt(inner)
        layers.append(_Layer(mean, torch.full((inner, outer), RHO), torch.zeros(outer)))
    return layers
