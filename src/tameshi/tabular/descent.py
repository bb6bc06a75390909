"""What the networks and the deep process share: standardised rows, batches, and Adam with a cosine that falls to zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def descend(
    tensors: Sequence[Tensor],
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> None:
    """Make a loss small by Adam, in place.

    Args:
        tensors: what is learned.
        loss: step, counted from 0 -> what is descended there, ().
        steps, weight_decay: of Adam.
        learning_rate: at the first step; a cosine brings it to zero.
    """
    optimiser = torch.optim.Adam(tensors, lr=learning_rate, weight_decay=weight_decay, fused=True)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        found = loss(step)
        optimiser.zero_grad()
        torch.autograd.backward(found)
        optimiser.step()


def batches(generators: Sequence[torch.Generator], rows: int, size: int | None) -> Batches | None:
    """Batches of so many rows, or None where all rows make one."""
    return None if size is None or size >= rows else Batches(generators, rows, size)


class Batches:
    """Rows of each step for every member, (members, batch), each in an order of its own; an epoch's rest is left out."""

    def __init__(self, generators: Sequence[torch.Generator], rows: int, size: int) -> None:
        self.generators, self.rows, self.size = generators, rows, size
        self.order, self.at = torch.empty(0), rows

    def next(self) -> Tensor:
        """The rows of the next step, (members, batch)."""
        if self.at + self.size > self.rows:
            self.order = torch.stack([torch.randperm(self.rows, generator=g) for g in self.generators])
            self.at = 0
        picked = self.order[:, self.at : self.at + self.size]
        self.at += self.size
        return picked


def standardise(model: Any, X: Floats, y: Floats) -> None:
    """Keep mean and standard deviation of rows and target on the model; what is constant is divided by 1."""
    model.x_mean_, deviation = X.mean(axis=0), X.std(axis=0)
    model.x_scale_ = np.where(deviation > 1e-12 * np.maximum(np.abs(model.x_mean_), 1e-300), deviation, 1.0)
    model.y_mean_ = float(y.mean())
    model.y_scale_ = float(y.std()) or 1.0


def inputs(model: Any, X: Floats) -> Floats:
    """Rows as the network sees them."""
    return np.asarray((X - model.x_mean_) / model.x_scale_)


def refuse_training(model: Any) -> None:
    """Refuse settings that everything trained here has.

    Raises:
        ValueError: steps, learning rate or batch size out of their range.
    """
    if model.steps < 1:
        raise ValueError(f"steps must be at least 1, got {model.steps}")
    if not model.learning_rate > 0:
        raise ValueError(f"learning_rate must be positive, got {model.learning_rate}")
    if model.batch_size is not None and model.batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, or None for all rows, got {model.batch_size}")


def refuse_hidden(hidden: Sequence[int]) -> None:
    """Refuse widths of hidden layers that make no network.

    Raises:
        ValueError: no layer, or one without units.
    """
    if not hidden or min(hidden) < 1:
        raise ValueError(f"hidden must name at least one layer of width 1 or more, got {tuple(hidden)}")
