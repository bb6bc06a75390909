"""Means over paired units, and what is known of any combination of them.

A contrast such as `0.65 * baseline - method` is a combination of columns that were measured on the same units. Its
interval is Student's, each end moved out to the bootstrap-t's where that lies further (from ten units on): Student's
keeps its level where contrasts are symmetric, the bootstrap-t where they are skewed, and neither alone does both
(docs/statistics.md has the table). SciPy's `bootstrap` has no studentised interval, and none for clusters.

Units that share something (a document, an item seen by several seeds) are summed first: the cluster is what is
independent. Where there are several seeds, their spread is taken in as soon as it shows. With W the variance of the
mean that the clusters explain, C the part of it that does not repeat over seeds, and B the variance of the mean as
the seeds tell it, the variance is W if B is not above C, and W + B - C otherwise, with Satterthwaite's degrees of
freedom: the variance component of the seeds, truncated at zero, as in any textbook on mixed models, and for items
crossed with seeds the two-way clustering of Cameron, Gelbach and Miller (2011). Two seeds say so little about their
own spread that it is ignored only if B is below C / 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from tameshi.bench.statistics.evidence import TAIL, Evidence, nothing

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

RESAMPLES = 1_999
FEWEST = 10  # clusters below which the bootstrap is erratic, and not asked
MOST = 2_000  # clusters above which it no longer differs from Student's


class Means:
    """Means of several columns over the same units.

    Args:
        columns: (columns, units).
        clusters: (units,), the name of what is independent; left out, every unit is.
        seeds: (units,), the seed each unit belongs to; left out, or all the same, the result is about that seed only.
        seed: of the bootstrap.

    Raises:
        ValueError: a value is not finite, or the lengths do not agree.
    """

    def __init__(
        self,
        columns: ArrayLike,
        *,
        clusters: Iterable[Hashable] | None = None,
        seeds: Iterable[Hashable] | None = None,
        seed: int = 0,
    ) -> None:
        self.columns: Floats = np.atleast_2d(np.asarray(columns, dtype=np.float64))
        if not np.isfinite(self.columns).all():
            raise ValueError("means need finite values; leave out what is not, and say so")
        self.units = self.columns.shape[1]
        self.cluster_of = numbered(range(self.units) if clusters is None else clusters)
        self.seed_of = numbered([0] * self.units if seeds is None else seeds)
        if len(self.cluster_of) != self.units or len(self.seed_of) != self.units:
            given = f"{len(self.cluster_of)} clusters and {len(self.seed_of)} seeds"
            raise ValueError(f"{self.units} units need a cluster and a seed each, got {given}")
        self.clusters = int(self.cluster_of.max(initial=-1)) + 1
        self.seeds = int(self.seed_of.max(initial=-1)) + 1
        self.seed = seed

    @cached_property
    def means(self) -> Floats:
        """(columns,)"""
        means: Floats = self.columns.mean(axis=1)
        return means

    def contrast(self, weights: ArrayLike, shift: float = 0.0) -> Evidence:
        """What is known of the mean of `weights @ columns + shift`.

        Args:
            weights: (columns,).
            shift: added to every unit.
        """
        weights = np.asarray(weights, dtype=np.float64)
        if self.units == 0:
            return nothing()
        unit = weights @ self.columns + shift
        estimate = float(unit.mean())
        differing = int(np.bincount(self.cluster_of, unit != 0, minlength=self.clusters).astype(bool).sum())
        if differing == 0:
            return Evidence(0.0, 0.0, 0.0, 1.0, 1.0, 0.0, math.inf, self.clusters)
        if self.clusters < 2:
            return nothing(1, estimate)
        error, freedom, by_seeds = self._error(weights)
        half = None
        flat = error <= 1e-12 * float(np.abs(unit).max())
        if flat:  # all agree to the last digit: nothing to estimate a spread from
            low, high, above, below = estimate, estimate, float(estimate < 0), float(estimate > 0)
        else:
            low, high, above, below = self._student(estimate, error, freedom)
            if not by_seeds and FEWEST <= self.clusters <= MOST:
                low, high, above, below, half = self._widened(weights, estimate, error, (low, high, above, below))
        if flat or differing < self.clusters:
            # Where all agree or many are tied, Student knows too little. Of u units that differ, all fall on one
            # given side by chance with probability 2^-u, so nothing can be less likely than that.
            above, below = max(above, 0.5**differing), max(below, 0.5**differing)
        decisive = self.seeds if by_seeds else self.clusters
        return Evidence(estimate, low, high, above, below, error, freedom, decisive, by_seeds, differing, half)

    def ratio(self, over: ArrayLike, under: ArrayLike) -> tuple[float, tuple[float, float] | None]:
        """The ratio of two combinations, with Fieller's interval: values that `over - value * under` does not rule out.

        Returns:
            (ratio, interval): NaN where `under` has mean zero, no interval where it cannot be told from zero.
        """
        over, under = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
        divisor = float(under @ self.means) if self.units else 0.0
        if divisor == 0:
            return math.nan, None
        ratio = float(over @ self.means) / divisor
        divided_by = self.contrast(under)
        if not (divided_by.low > 0 or divided_by.high < 0):
            return ratio, None
        spread = self._error(over - ratio * under)[0] / abs(divisor)
        if spread <= 1e-12 * abs(ratio):
            return ratio, (ratio, ratio)
        sign = math.copysign(1.0, divisor)
        low = _root(lambda value: self.contrast(sign * (over - value * under)).low, ratio, -spread)
        high = _root(lambda value: self.contrast(sign * (over - value * under)).high, ratio, spread)
        return ratio, (low, high)

    def _student(self, estimate: float, error: float, freedom: float) -> tuple[float, float, float, float]:
        half = float(special.stdtrit(freedom, 1 - TAIL)) * error
        above, below = (float(special.stdtr(freedom, side * estimate / error)) for side in (-1, 1))
        return estimate - half, estimate + half, above, below

    def _widened(
        self, weights: Floats, estimate: float, error: float, student: tuple[float, float, float, float]
    ) -> tuple[float, float, float, float, float | None]:
        """Student's interval and tails, moved out to the bootstrap-t's where those lie further; and what half would miss."""
        counts, sums, products, crossed, squares = self._resampled
        mean = weights @ sums / counts
        spread = weights @ products @ weights - 2 * mean * (weights @ crossed) + mean**2 * squares
        spread *= self.clusters / (self.clusters - 1)
        flat = spread <= 1e-9 * float(np.median(spread))
        if flat.mean() > 0.01:  # so few units differ that resamples without spread would decide the ends
            return *student, None
        errors = np.sqrt(np.where(flat, 0.0, spread)) / counts
        t = np.sort(np.where(flat, 0.0, mean * counts / np.sqrt(np.where(flat, 1.0, spread))))
        ends = np.quantile(t, [TAIL, 1 - TAIL])
        seen, count = estimate / error, len(t)
        low, high, above, below = student
        reach = max(estimate - low, float(ends[1]) * error) / error  # errors from the estimate to the lower end
        missed = float(np.median(reach * errors - mean))  # by half of the resamples, were this run the truth
        return (
            estimate - reach * error,
            max(high, estimate - float(ends[0]) * error),
            max(above, 1 - int(np.searchsorted(t, seen, "left")) / count),  # beyond all resamples Student's tail stands
            max(below, int(np.searchsorted(t, seen, "right")) / count),
            missed * error / float(np.median(errors)),  # the truth is to this run as this run is to its resamples
        )

    @cached_property
    def _resampled(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """For every resample of the clusters: units, sums, sums of products, of sum times size, of size squared."""
        draws = _draws(self.clusters, self.seed)
        sizes = np.bincount(self.cluster_of).astype(np.float64)
        centred = self.columns - self.means[:, None]
        sums = np.stack([np.bincount(self.cluster_of, column) for column in centred])
        products = np.einsum("ic,jc->ijc", sums, sums)
        of = draws.T
        return sizes @ of, sums @ of, np.moveaxis(products @ of, -1, 0), (sums * sizes) @ of, sizes**2 @ of

    def _error(self, weights: Floats) -> tuple[float, float, bool]:
        """(standard error, degrees of freedom, whether the seeds decide) of a combination."""
        residual = weights @ (self.columns - self.means[:, None])
        freedom = self.clusters - 1.0
        plain = _variance(residual, self.cluster_of)
        if self.seeds < 2:
            return math.sqrt(plain), freedom, False
        between = _variance(residual, self.seed_of)
        inner = residual - (np.bincount(self.seed_of, residual) / np.bincount(self.seed_of))[self.seed_of]
        once = self._not_repeating(inner)
        rounding = 1e-12 * plain  # seeds may agree to the last digit
        if between <= once * (1.0 if self.seeds > 2 else 0.25) + rounding:
            return math.sqrt(plain), freedom, False
        items = max(0.0, _variance(inner, self.cluster_of) - once)
        shared = max(between, once)
        total = items + shared
        satterthwaite = total**2 / (shared**2 / (self.seeds - 1) + items**2 / freedom)
        return math.sqrt(total), max(satterthwaite, self.seeds - 1.0) if self.seeds > 2 else 1.0, True

    def _not_repeating(self, inner: Floats) -> float:
        """Variance of the mean from what a cluster does not have in common with itself under another seed."""
        cell_of, owner = self._cells
        sums = np.bincount(cell_of, inner)
        seen = np.bincount(owner, minlength=self.clusters)
        common = np.where(seen > 1, np.bincount(owner, sums, minlength=self.clusters) / seen, 0.0)
        factor = np.where(seen > 1, seen / np.maximum(seen - 1.0, 1.0), 1.0)
        spread: float = float(((sums - common[owner]) ** 2 * factor[owner]).sum()) / self.units**2
        return spread * len(sums) / max(len(sums) - self.seeds, 1)

    @cached_property
    def _cells(self) -> tuple[Numbers, Numbers]:
        """(units,) the cell (a cluster in one seed) of each unit; (cells,) the cluster of each cell."""
        cell_of = numbered(zip(self.seed_of.tolist(), self.cluster_of.tolist(), strict=True))
        owner = np.empty(int(cell_of.max()) + 1, dtype=np.int64)
        owner[cell_of] = self.cluster_of
        return cell_of, owner


def mean_interval(values: ArrayLike, *, clusters: Iterable[Hashable] | None = None, seed: int = 0) -> Evidence:
    """The mean of one column, held against zero."""
    return Means(values, clusters=clusters, seed=seed).contrast([1.0])


@lru_cache(maxsize=4)
def _draws(clusters: int, seed: int) -> Floats:
    """(resamples, clusters): how often each cluster is drawn; the same for all contrasts of as many clusters."""
    rng = np.random.default_rng([seed, clusters])
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=RESAMPLES).astype(np.float64)


def numbered(names: Iterable[Hashable]) -> Numbers:
    """(units,): names as 0, 1, 2 ... in the order in which they first come."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.int64)


def _variance(residual: Floats, of: Numbers) -> float:
    """Variance of the mean where the sums over `of` are independent of each other."""
    sums = np.bincount(of, residual)
    return float((sums**2).sum()) / len(residual) ** 2 * len(sums) / max(len(sums) - 1, 1)


def _root(end: Callable[[float], float], start: float, step: float) -> float:
    """Where an end of an interval crosses zero, from `start` in the direction of `step`; infinite if nowhere."""
    here = end(start)
    for _ in range(40):
        there = start + step
        if (end(there) > 0) != (here > 0):
            return float(optimize.brentq(end, start, there, xtol=abs(step) * 1e-9, rtol=1e-12))
        step *= 2
    return math.copysign(math.inf, step)
