"""A table drawn apart for regression: training rows whose targets may hold outliers, and clean test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tameshi.doors.screen import plain
from tameshi.specimens.table import Table

Floats = NDArray[np.float64]

FEWEST = 10  # training rows: three are held out to tune on, and seven can be learned from


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


def training_rows(table: Table, target: str | None, lags: int, most: int) -> int:
    """How many rows a split trains on: at most so many, and at most 70 %.

    Raises:
        ValueError: no such target column, lags that leave nothing, or fewer than `FEWEST` rows.
    """
    X, _ = table.lagged(target, lags) if lags else table.xy(target)
    count = min(most, int(0.7 * len(X)))
    if count < FEWEST:
        raise ValueError(
            f"at least {FEWEST} training rows are needed, got {count} of {len(X)} rows of {plain(table.name)}; "
            "70 % of a table are trained on"
        )
    return count


def split(table: Table, target: str | None, lags: int, outliers: float, rows: int, seed: int) -> Split:
    """Draw a split.

    Args:
        table: with its target, or a name for it. lags: read the target as a series; 0 is a table of rows.
        outliers: share of the training targets that are shifted.
        rows: at most so many for training (`training_rows`); at most 2,000 of the rest are the test.
        seed: of the draw.

    Raises:
        ValueError: as `training_rows`.
    """
    count = training_rows(table, target, lags, rows)
    X, y = table.lagged(target, lags) if lags else table.xy(target)
    truth = y if table.truth is None or lags else table.truth
    rng = np.random.default_rng([91, seed])
    order = np.arange(len(X)) if lags else rng.permutation(len(X))  # a series is split in time
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
