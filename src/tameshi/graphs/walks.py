"""Random walks with restart from every anchor at once: the features by which two graphs share coordinates."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tameshi.graphs.edges import Adjacency, Floats, Integers
from tameshi.graphs.sparse import blocks, csr


def random_walks(adjacency: Adjacency, starts: Integers, *, restart: float = 0.15, tolerance: float = 1e-10) -> Floats:
    """Where a walker is found that returns to its start with probability `restart` at every step.

    The column r of start u solves r = (1 - c) Pᵀ r + c e_u, with c = `restart` and P the adjacency with rows divided by the
    degrees. All columns are solved together by the Chebyshev iteration: Pᵀ has its eigenvalues in [-1, 1], so that the error
    falls by (√κ - 1)/(√κ + 1), κ = (2 - c)/c, each step (0.56 at c = 0.15, where the plain iteration has 0.85).

    Args:
        adjacency: (n, n), symmetric, ones.
        starts: (k,) nodes.
        restart: probability c, in (0, 1].
        tolerance: to which the error of a column (in the norm weighted by degrees) is brought, relative to its start.

    Returns:
        (n, k); columns sum to 1, but the column of an isolated start is zero.
    """
    if not 0 < restart <= 1:
        raise ValueError(f"restart must be a probability in (0, 1], got {restart}")
    degrees = np.asarray(adjacency.sum(axis=1)).ravel()
    inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    step = csr(adjacency, (1 - restart) * inverse[adjacency.indices])
    target = torch.zeros(adjacency.shape[0], len(starts), dtype=torch.float64)
    target[starts, torch.arange(len(starts))] = restart * torch.from_numpy(np.where(degrees[starts] > 0, 1.0, 0.0))
    if restart < 1:
        for columns in blocks(len(starts)):
            target[:, columns] = _solved(step, target[:, columns].contiguous(), 1 - restart, tolerance)
    return target.numpy()


def _solved(step: Tensor, target: Tensor, radius: float, tolerance: float) -> Tensor:
    """r = step r + target, where the eigenvalues of `step` lie in [-radius, radius] (Golub and Van Loan, 11.2.8)."""
    rate = radius / (1 + math.sqrt(1 - radius**2))  # the error falls like 2 rateⁿ
    steps = math.ceil(math.log(2 / tolerance) / -math.log(rate))
    before, now, weight = torch.zeros_like(target), target.clone(), 2.0
    for _ in range(steps):
        weight = 1 / (1 - weight * radius**2 / 4)
        torch.lerp(
            before, (step @ now).add_(target), weight, out=before
        )  # before + weight (step now + target - before)
        before, now = now, before
    return now


def rwr_features(
    adjacency1: Adjacency, adjacency2: Adjacency, anchors: Integers, *, restart: float = 0.15
) -> tuple[Floats, Floats]:
    """Features (n1, k) and (n2, k) of both graphs; column i belongs to anchor i in both."""
    return (
        random_walks(adjacency1, anchors[:, 0], restart=restart),
        random_walks(adjacency2, anchors[:, 1], restart=restart),
    )
