"""A table drawn apart for regression: training rows whose targets may hold outliers, and clean test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tameshi.specimens.table import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """Training rows with dirty targets and test rows with clean ones, standardised by the training rows.

    Args:
        X, y: training. Xt, yt: test; yt is the truth without noise where the table has it.
        ids: of the test rows.
    """

    X: Floats
    y: Floats
    Xt: Floats
    yt: Floats
    ids: tuple[str, ...]


def split(table: Table, target: str | None, lags: int, outliers: float, rows: int, seed: int) -> Split:
    """Draw a split: at most `rows` for training, or 70 %; at most 2,000 of the rest for the test."""
    X, y = table.lagged(target, lags) if lags else table.xy(target)
    truth = y if table.truth is None or lags else table.truth
    rng = np.random.default_rng([91, seed])
    order = np.arange(len(X)) if lags else rng.permutation(len(X))  # a series is split in time
    count = min(rows, int(0.7 * len(X)))
    train, test = order[:count], order[count : count + 2000]
    dirty = with_outliers(y[train], outliers, rng)
    mean, scale = X[train].mean(axis=0), X[train].std(axis=0)
    scale[scale == 0] = 1
    middle, unit = dirty.mean(), dirty.std() or 1.0
    ids = tuple(f"{table.name}#{row}" for row in test)
    return Split(
        (X[train] - mean) / scale, (dirty - middle) / unit, (X[test] - mean) / scale, (truth[test] - middle) / unit, ids
    )


def with_outliers(y: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Targets of which a share is shifted by 3 to 8 standard deviations, up or down."""
    shift = rng.choice([-1.0, 1.0], len(y)) * rng.uniform(3, 8, len(y)) * y.std()
    return np.asarray(y + (rng.random(len(y)) < share) * shift)
