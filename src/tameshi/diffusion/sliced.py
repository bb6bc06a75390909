"""The distance between two clouds of samples, such as images as rows of pixels, without a network that judges them."""

from __future__ import annotations

from typing import Any

import numpy as np


def sliced_wasserstein(one: Any, two: Any, *, directions: int = 256, seed: int = 0) -> float:
    """Mean over random directions of the distance between sorted projections.

    Args:
        one, two: (n, d) each, n the same.
        directions: how many.
        seed: of the directions.

    Raises:
        ValueError: clouds of different shapes.
    """
    if one.shape != two.shape:
        raise ValueError(f"both clouds must have the same shape (n, d), got {one.shape} and {two.shape}")
    rng = np.random.default_rng([seed, 5])
    lines = rng.normal(size=(one.shape[1], directions))
    lines /= np.linalg.norm(lines, axis=0)
    return float(np.abs(np.sort(one @ lines, axis=0) - np.sort(two @ lines, axis=0)).mean())
