"""Granular balls: clusters of rows that are nearly pure in a binned target.

Rastogi et al. 2025, arXiv:2503.10539 (the generator of their sister classification papers): start with one ball that
holds every row, and split a ball in two by k-means while its rows do not agree on the bin of their target
(`splitting.py`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from scipy.spatial import cKDTree
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from tameshi.tabular.splitting import Flags, Floats, Ints, grow_balls, purest, sizes, sums


@dataclass(frozen=True)
class Balls:
    """Rows summed up as balls.

    Args:
        centers: (balls, columns), weighted mean of the rows.
        radii: (balls,), distance of the rows from the centre, mean or largest.
        targets: (balls,), weighted median or mean of the rows' targets.
        weights: (balls,), sum of the rows' weights.
        counts: (balls,), number of rows.
        purity: (balls,), share of the most frequent bin.
        labels: (rows,), which ball a row lies in.
    """

    centers: Floats
    radii: Floats
    targets: Floats
    weights: Floats
    counts: Ints
    purity: Floats
    labels: Ints


def target_bins(target: Floats, bins: int, weight: Floats) -> Ints:
    """The quantile bin of each target: how many of the distinct inner quantiles j/bins are at most the target.

    Args:
        target: (rows,).
        bins: number of bins asked for; equal quantiles are merged.
        weight: (rows,), positive; a row of weight 2 counts as two rows.

    Returns:
        (rows,), bins counted from 0.
    """
    levels = np.arange(1, bins) / bins
    if len(levels) == 0:
        return np.zeros(len(target), dtype=np.int64)
    edges = np.unique(np.quantile(target, levels, weights=weight, method="inverted_cdf"))
    return np.searchsorted(edges, target, side="right").astype(np.int64)


def sum_up(
    rows: Floats,
    target: Floats,
    weight: Floats,
    bins: Ints,
    labels: Ints,
    *,
    radius: Literal["mean", "max"] = "mean",
    aggregate: Literal["median", "mean"] = "median",
) -> Balls:
    """The balls of a partition of the rows; see `Balls` for the shapes."""
    order = np.lexsort((target, labels))
    sorted_labels = labels[order]
    starts = np.flatnonzero(np.r_[True, sorted_labels[1:] != sorted_labels[:-1]])
    counts = sizes(starts, len(order))
    picked, mass = rows[order], weight[order]
    total = np.add.reduceat(mass, starts)
    centers = sums(picked, mass, starts) / total[:, None]
    distance = np.sqrt(np.square(picked - np.repeat(centers, counts, axis=0)).sum(axis=1))
    if radius == "mean":
        radii = np.add.reduceat(distance * mass, starts) / total
    else:
        radii = np.maximum.reduceat(distance, starts)
    if aggregate == "mean":
        targets = np.add.reduceat(target[order] * mass, starts) / total
    else:
        targets = _medians(target[order], mass, starts)
    share, _ = purest(bins[order], mass, starts)
    return Balls(centers, radii, targets, total, counts, share, labels)


class GranularBalls(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Partition of the rows of a table into granular balls, as a scikit-learn transformer.

    `transform` names the nearest ball of each row, as one column, so that the balls can serve any other estimator.

    Args:
        n_bins: quantile bins of the target (our choice 10; the paper's number was not found).
        purity: a ball is split while the share of its most frequent bin is below this; in (0, 1] (our choice 0.9).
        min_size: only balls with at least twice as many rows are split; at least 1 (our choice 3).
        radius: "mean" (robust) or "max" distance of the rows from the centre.
        agg: how the targets of a ball become one, "median" (our choice) or "mean".
        enforce_min: refuse a split that leaves fewer than `min_size` rows on a side.

    Attributes:
        centers_: (balls, columns). radii_, targets_, weights_, counts_, purity_: (balls,). labels_: (rows,).

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(
        self,
        n_bins: int = 10,
        purity: float = 0.9,
        min_size: int = 3,
        radius: str = "mean",
        agg: str = "median",
        enforce_min: bool = False,
    ) -> None:
        self.n_bins = n_bins
        self.purity = purity
        self.min_size = min_size
        self.radius = radius
        self.agg = agg
        self.enforce_min = enforce_min

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Make the balls of a table X (rows, columns) with its target y (rows,)."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        made = make_balls(X, np.asarray(y, dtype=np.float64), weight, self)
        self.centers_, self.radii_, self.targets_ = made.centers, made.radii, made.targets
        self.weights_, self.counts_, self.purity_, self.labels_ = made.weights, made.counts, made.purity, made.labels
        return self

    def transform(self, X: Any) -> Ints:
        """The nearest ball of each row, (rows, 1)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return nearest(self.centers_, X)[:, None]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []  # numbers of balls, whatever the rows were
        return tags


def make_balls(rows: Floats, target: Floats, weight: Floats, settings: Any) -> Balls:
    """Bin the target, grow the balls, sum them up; the settings are those of `GranularBalls`.

    Rows of weight 0 take no part and get the label of the nearest ball.

    Raises:
        ValueError: a setting out of its range, or a negative weight.
    """
    _refuse(settings)
    if np.any(weight < 0):
        raise ValueError("sample_weight must not be negative")
    counted = weight > 0
    bins = target_bins(target[counted], settings.n_bins, weight[counted])
    if settings.n_bins > 1 and bins.max() == bins.min():
        warnings.warn(
            "the target falls into one bin, so there is one ball and a constant model; "
            "is the target constant, or n_bins larger than its distinct values?",
            UserWarning,
            stacklevel=3,
        )
    labels = grow_balls(
        rows[counted],
        bins,
        weight[counted],
        purity=settings.purity,
        min_size=settings.min_size,
        enforce_min=settings.enforce_min,
    )
    made = sum_up(
        rows[counted], target[counted], weight[counted], bins, labels, radius=settings.radius, aggregate=settings.agg
    )
    if counted.all():
        return made
    everywhere = nearest(made.centers, rows)
    everywhere[counted] = labels
    return Balls(made.centers, made.radii, made.targets, made.weights, made.counts, made.purity, everywhere)


def nearest(centers: Floats, rows: Floats) -> Ints:
    """Index of the nearest centre of each row, (rows,)."""
    return np.asarray(cKDTree(centers).query(rows)[1], dtype=np.int64)


def _refuse(settings: Any) -> None:
    if settings.n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {settings.n_bins}")
    if not 0 < settings.purity <= 1:
        raise ValueError(f"purity must lie in (0, 1], got {settings.purity}")
    if settings.min_size < 1:
        raise ValueError(f"min_size must be at least 1 row, got {settings.min_size}")
    if settings.radius not in ("mean", "max"):
        raise ValueError(f"radius must be 'mean' or 'max', got {settings.radius!r}")
    if settings.agg not in ("median", "mean"):
        raise ValueError(f"agg must be 'median' or 'mean', got {settings.agg!r}")


def _medians(target: Floats, weight: Floats, starts: Ints) -> Floats:
    """Weighted median of each run of ascending targets: the middle of the lower and the upper median."""
    lengths = sizes(starts, len(target))
    run = np.repeat(np.arange(len(starts)), lengths)
    total = np.add.reduceat(weight, starts)
    before = np.r_[0.0, np.cumsum(weight)][starts]
    reached = np.cumsum(weight) - before[run]
    half, hair = total[run] / 2, 1e-12 * total[run]
    lower = _first(reached >= half - hair, run)
    upper = _first(reached > half + hair, run)
    return (target[lower] + target[upper]) / 2


def _first(flags: Flags, run: Ints) -> Ints:
    hits = np.flatnonzero(flags)
    return np.asarray(hits[np.r_[True, run[hits][1:] != run[hits][:-1]]])
