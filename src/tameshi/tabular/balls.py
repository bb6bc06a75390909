"""Granular balls: clusters of rows that are nearly pure in a binned target.

Rastogi et al. 2025, arXiv:2503.10539 (the generator of their sister classification papers): start with one ball that
holds every row, and split a ball in two by k-means while its rows do not agree on the bin of their target. All balls
of a generation are split at once, which gives the same balls as splitting them one by one, because no split depends
on another.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

LLOYD_STEPS = 20  # our choice; two means of one ball settle in 5 to 15


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


def grow_balls(
    rows: Floats,
    bins: Ints,
    weight: Floats,
    *,
    purity: float,
    min_size: float,
    enforce_min: bool = False,
) -> Ints:
    """Split one ball of all rows until every ball is pure or small.

    A ball is split if the share of its most frequent bin is below `purity` and it weighs at least twice `min_size`.
    The first seed of the two means is the row farthest from the centre, the second the row farthest from the first
    (our choice: no random number is needed, and the order of the rows does not matter). A ball whose rows all lie on
    one point is kept.

    Args:
        rows: (rows, columns).
        bins: (rows,), the binned target.
        weight: (rows,), positive.
        purity: in (0, 1].
        min_size: rows (or weight), at least 1.
        enforce_min: refuse a split that makes a ball lighter than `min_size`.

    Returns:
        (rows,), the ball of each row, numbered from 0 without gaps.
    """
    labels = np.empty(len(rows), dtype=np.int64)
    rows = rows - rows.mean(axis=0)  # far from the origin, differences would lose their digits
    order = np.arange(len(rows))
    starts = np.zeros(1, dtype=np.int64)
    made = 0
    while len(order):
        share, size = _purity(bins[order], weight[order], starts)
        split = (share < purity) & (size >= 2 * min_size)
        made = _close(labels, order, starts, ~split, made)
        order, starts = _keep(order, starts, split)
        if not len(order):
            break
        side, worked = _two_means(rows[order], weight[order], starts)
        if enforce_min:
            right = np.add.reduceat(np.where(side, weight[order], 0.0), starts)
            whole = np.add.reduceat(weight[order], starts)
            worked &= np.minimum(right, whole - right) >= min_size
        made = _close(labels, order, starts, ~worked, made)
        side = side[np.repeat(worked, _sizes(starts, len(side)))]
        order, starts = _keep(order, starts, worked)
        order, starts = _divide(order, starts, side)
    return labels


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
    counts = _sizes(starts, len(order))
    picked, mass = rows[order], weight[order]
    total = np.add.reduceat(mass, starts)
    centers = _sums(picked, mass, starts) / total[:, None]
    distance = np.sqrt(np.square(picked - np.repeat(centers, counts, axis=0)).sum(axis=1))
    if radius == "mean":
        radii = np.add.reduceat(distance * mass, starts) / total
    else:
        radii = np.maximum.reduceat(distance, starts)
    if aggregate == "mean":
        targets = np.add.reduceat(target[order] * mass, starts) / total
    else:
        targets = _medians(target[order], mass, starts)
    share, _ = _purity(bins[order], mass, starts)
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
        enforce_min=getattr(settings, "enforce_min", False),
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


def _two_means(rows: Floats, weight: Floats, starts: Ints) -> tuple[Flags, Flags]:
    """Two means of every ball at once: (which side each row falls on, which balls could be split)."""
    ball = np.repeat(np.arange(len(starts)), _sizes(starts, len(rows)))
    first = rows[_farthest(rows, _means(rows, weight, starts), ball, starts)]
    second = rows[_farthest(rows, first, ball, starts)]
    worked = np.any(first != second, axis=1)
    whole, mass_of = _sums(rows, weight, starts), np.add.reduceat(weight, starts)
    side = np.zeros(len(rows), dtype=np.bool_)
    moving = worked.copy()
    held: _Held | None = None
    for _ in range(LLOYD_STEPS):
        if not moving.any():
            break
        if held is None or moving.sum() < 0.7 * len(held.active):  # what has settled need not be looked at again
            held = _Held.of(rows, weight, starts, moving)
        active = held.active
        normal = second[active] - first[active]
        offset = np.einsum("ij,ij->i", normal, (first[active] + second[active]) / 2)
        new = _products(held.rows, normal, held.ball, held.starts) > offset[held.ball]
        changed = np.logical_or.reduceat(new != side[held.place], held.starts)
        side[held.place] = new
        right = np.where(new, held.weight, 0.0)
        right_sum, right_mass = _sums(held.rows, right, held.starts), np.add.reduceat(right, held.starts)
        second[active] = right_sum / right_mass[:, None]
        first[active] = (whole[active] - right_sum) / (mass_of[active] - right_mass)[:, None]
        moving[active] = changed
    return side, worked


@dataclass(frozen=True)
class _Held:
    """The rows of the balls that still move, one ball after the other."""

    active: Ints  # which balls
    place: Ints  # where their rows stand among all
    rows: Floats
    weight: Floats
    ball: Ints  # of each row, counted among the active
    starts: Ints

    @classmethod
    def of(cls, rows: Floats, weight: Floats, starts: Ints, moving: Flags) -> _Held:
        place, local = _keep(np.arange(len(rows)), starts, moving)
        active = np.flatnonzero(moving)
        ball = np.repeat(np.arange(len(active)), _sizes(local, len(place)))
        return cls(active, place, rows[place], weight[place], ball, local)


def _products(rows: Floats, vectors: Floats, ball: Ints, starts: Ints) -> Floats:
    """Inner product of each row with the vector of its ball, (rows,)."""
    if len(rows) > 100 * len(vectors):  # a matrix product a ball is quicker than to spread the vectors over the rows
        found = np.empty(len(rows))
        for start, size, vector in zip(starts, _sizes(starts, len(rows)), vectors, strict=True):
            found[start : start + size] = rows[start : start + size] @ vector
        return found
    return np.asarray(np.einsum("ij,ij->i", rows, vectors[ball]))


def _farthest(rows: Floats, points: Floats, ball: Ints, starts: Ints) -> Ints:
    """For each ball, the index of its row farthest from the ball's point."""
    away = rows - points[ball]
    distance = np.einsum("ij,ij->i", away, away)
    largest = np.maximum.reduceat(distance, starts)
    hits = np.flatnonzero(distance == largest[ball])
    return hits[np.r_[True, ball[hits][1:] != ball[hits][:-1]]]


def _sums(rows: Floats, weight: Floats, starts: Ints) -> Floats:
    """Weighted sum of the rows of each run, (runs, columns)."""
    runs = sparse.csr_array((weight, np.arange(len(rows)), np.r_[starts, len(rows)]), shape=(len(starts), len(rows)))
    return np.asarray(runs @ rows)


def _means(rows: Floats, weight: Floats, starts: Ints) -> Floats:
    return _sums(rows, weight, starts) / np.add.reduceat(weight, starts)[:, None]


def _medians(target: Floats, weight: Floats, starts: Ints) -> Floats:
    """Weighted median of each run of ascending targets: the middle of the lower and the upper median."""
    sizes = _sizes(starts, len(target))
    run = np.repeat(np.arange(len(starts)), sizes)
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


def _purity(bins: Ints, weight: Floats, starts: Ints) -> tuple[Floats, Floats]:
    """(share of the most frequent bin, total weight) of each run."""
    sizes = _sizes(starts, len(bins))
    run = np.repeat(np.arange(len(starts)), sizes)
    width = int(bins.max()) + 1
    size = np.add.reduceat(weight, starts)
    if width * len(starts) <= 4 * len(bins):
        table = np.bincount(run * width + bins, weights=weight, minlength=width * len(starts))
        return table.reshape(-1, width).max(axis=1) / size, size
    keys, inverse = np.unique(run * width + bins, return_inverse=True)
    mass = np.bincount(inverse, weights=weight)
    owner = keys // width
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    return np.maximum.reduceat(mass, first) / size, size


def _sizes(starts: Ints, rows: int) -> Ints:
    return np.asarray(np.diff(np.r_[starts, rows]))


def _keep(order: Ints, starts: Ints, kept: Flags) -> tuple[Ints, Ints]:
    sizes = _sizes(starts, len(order))
    order = order[np.repeat(kept, sizes)]
    return order, np.r_[0, np.cumsum(sizes[kept])[:-1]].astype(np.int64)


def _close(labels: Ints, order: Ints, starts: Ints, done: Flags, made: int) -> int:
    """Number the balls that are done; how many there are now."""
    sizes = _sizes(starts, len(order))
    number = made + np.cumsum(done) - 1
    rows = np.repeat(done, sizes)
    labels[order[rows]] = np.repeat(number, sizes)[rows]
    return made + int(done.sum())


def _divide(order: Ints, starts: Ints, side: Flags) -> tuple[Ints, Ints]:
    """Bring the rows of each side of each ball together."""
    if not len(order):
        return order, starts
    sizes = _sizes(starts, len(order))
    key = 2 * np.repeat(np.arange(len(starts)), sizes) + side
    turn = np.argsort(key, kind="stable")
    key = key[turn]
    return order[turn], np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
