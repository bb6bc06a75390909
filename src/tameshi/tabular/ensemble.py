"""A deep ensemble: small networks from different seeds, trained together as one batched network.

Lakshminarayanan et al. 2017: the spread of the members is the uncertainty. The weights of all members stand in one
tensor, (members, in, out), so a layer is one `torch.baddbmm`, and the optimiser sees one network. The members never
touch each other: each has a sum of its own in the loss, its own starting weights and its own order of rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from tameshi.tabular.descent import batches, descend, inputs, refuse_hidden, refuse_training, standardise

Floats = NDArray[np.float64]
STARTS = ("uniform", "normal")
Layer = tuple[Tensor, Tensor]  # weight (members, in, out), bias (members, 1, out)


class DeepEnsembleRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Mean and spread of tanh networks trained from different seeds.

    Args:
        members: at least 2; one has no spread (5 costs little; `tameshi apply chf-hybrid` takes 20).
        hidden: widths of the hidden layers (our choice, two of 64).
        steps: of Adam, with a cosine that falls to zero (our choice).
        learning_rate, weight_decay: of Adam.
        batch_size: rows of a step; None is all rows (our choice 128: larger ones leave little to gain by batching the
            members).
        start: "uniform" draws the first weights from +-1/sqrt(in), as torch.nn.Linear; "normal" from N(0, 1/in),
            whose networks are rougher where rows are few.
        heteroscedastic: each network also gives a variance and is trained on the Gaussian likelihood; the variance of a
            prediction is then the mean of the variances plus the variance of the means.
        random_state: of the weights and the order of the rows.

    Attributes:
        weights_, biases_: one array a layer, (members, in, out) and (members, 1, out), for standardised rows and
            target.
        x_mean_, x_scale_: (columns,). y_mean_, y_scale_: numbers.
        losses_: (members,), mean loss of the last tenth of the steps, in standardised units.

    Raises:
        ValueError: fewer than two members, or another setting out of its range.
    """

    def __init__(
        self,
        members: int = 5,
        hidden: Sequence[int] = (64, 64),
        steps: int = 2500,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-5,
        batch_size: int | None = 128,
        start: str = "uniform",
        heteroscedastic: bool = False,
        random_state: Any = 0,
    ) -> None:
        self.members = members
        self.hidden = hidden
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.start = start
        self.heteroscedastic = heteroscedastic
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (rows, columns) and y (rows,)."""
        if self.members < 2:
            raise ValueError(f"members must be at least 2, for one network has no spread, got {self.members}")
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}, got {self.start!r}")
        refuse_hidden(self.hidden)
        refuse_training(self)
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        standardise(self, X, np.asarray(y, dtype=np.float64))
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=self.members)
        rows, target = inputs(self, X), ((y - self.y_mean_) / self.y_scale_).astype(np.float32)
        layers, losses = train(
            seeds.tolist(),
            torch.from_numpy(rows.astype(np.float32)),
            torch.from_numpy(target),
            widths=[X.shape[1], *self.hidden, 2 if self.heteroscedastic else 1],
            steps=self.steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            start=self.start,
        )
        self.weights_ = [weight.detach().double().numpy() for weight, _ in layers]
        self.biases_ = [bias.detach().double().numpy() for _, bias in layers]
        self.losses_ = losses
        return self

    def predict(self, X: Any, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """Predict for X (rows, columns): mean (rows,), and with `return_std` the standard deviation (rows,)."""
        each, noise = self.predict_members(X)
        mean = np.asarray(each.mean(axis=0))
        if not return_std:
            return mean
        return mean, np.sqrt(each.var(axis=0, ddof=1) + noise.mean(axis=0))

    def predict_members(self, X: Any) -> tuple[Floats, Floats]:
        """(mean, variance) of each member, both (members, rows); the variance is 0 unless heteroscedastic."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        layers = [(torch.from_numpy(w), torch.from_numpy(b)) for w, b in zip(self.weights_, self.biases_, strict=True)]
        with torch.no_grad():
            out = forward(layers, torch.from_numpy(inputs(self, X)).expand(len(self.weights_[0]), -1, -1)).numpy()
        mean = out[..., 0] * self.y_scale_ + self.y_mean_
        noise = np.exp(out[..., 1]) * self.y_scale_**2 if self.heteroscedastic else np.zeros_like(mean)
        return mean, noise


def train(
    seeds: Sequence[int],
    rows: Tensor,
    target: Tensor,
    *,
    widths: Sequence[int],
    steps: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int | None,
    start: str = "uniform",
) -> tuple[list[Layer], Floats]:
    """Train one network a seed, all at once; each is what it would be alone.

    Args:
        seeds: one a member.
        rows: (rows, columns), standardised. target: (rows,).
        widths: of the layers from input to output; 1 output is trained on squares, 2 on the Gaussian likelihood.
        steps, learning_rate, weight_decay: of Adam.
        batch_size: rows of a step; None is all.
        start: of the weights, as in `DeepEnsembleRegressor`.

    Returns:
        (layers, mean loss of each member over the last tenth of the steps).
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    layers = first_weights(generators, widths, start)
    flat = [tensor.requires_grad_() for layer in layers for tensor in layer]
    parts = batches(generators, len(rows), batch_size)
    last: list[Tensor] = []

    def whole(step: int) -> Tensor:
        if parts is None:
            x, y = rows.expand(len(seeds), -1, -1), target.expand(len(seeds), -1)
        else:
            picked = parts.next()
            x, y = rows[picked], target[picked]
        each = loss(forward(layers, x), y)
        if step >= steps - max(1, steps // 10):
            last.append(each.detach())
        return each.sum()

    descend(flat, whole, steps=steps, learning_rate=learning_rate, weight_decay=weight_decay)
    return layers, torch.stack(last).mean(dim=0).double().numpy()


def forward(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """(members, rows, columns) -> (members, rows, outputs); tanh between the layers."""
    for weight, bias in layers[:-1]:
        x = torch.tanh(torch.baddbmm(bias, x, weight))
    weight, bias = layers[-1]
    return torch.baddbmm(bias, x, weight)


def loss(out: Tensor, target: Tensor) -> Tensor:
    """Mean square, or with two outputs the Gaussian negative log-likelihood, of each member, (members,)."""
    square = (out[..., 0] - target) ** 2
    if out.shape[-1] == 1:
        return square.mean(dim=1)
    log_variance = out[..., 1].clamp(-12, 6)
    return ((square / log_variance.exp() + log_variance) / 2).mean(dim=1)


def first_weights(generators: Sequence[torch.Generator], widths: Sequence[int], start: str) -> list[Layer]:
    """Starting weights of every member, each drawn from its own generator."""
    layers = []
    for inner, outer in pairwise(widths):
        bound = 1 / math.sqrt(inner)
        if start == "uniform":
            both = torch.stack([torch.rand(inner + 1, outer, generator=g) * 2 * bound - bound for g in generators])
            layers.append((both[:, :inner].clone(), both[:, inner:].clone()))
        else:
            weight = torch.stack([torch.randn(inner, outer, generator=g) * bound for g in generators])
            layers.append((weight, torch.zeros(len(generators), 1, outer)))
    return layers
