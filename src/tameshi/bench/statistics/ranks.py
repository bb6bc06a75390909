"""Agreement: Spearman's or Pearson's correlation over items, and the trend of a metric along a condition.

The interval of Spearman's coefficient is Bonett and Wright's (2000, Psychometrika 65:23) on Fisher's scale, each end
moved out to the percentile bootstrap's where that lies further. The first knows about few items, the second about
ties, groups and unequal spread. A perfect correlation is read as one swap of neighbours short of perfect, the nearest
that as many items can tell apart. For Pearson's the interval is Fisher's.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from tameshi.bench.statistics.evidence import TAIL, Evidence, nothing
from tameshi.bench.statistics.means import Means, numbered

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]

RESAMPLES = 999
FEWEST = 5  # items; fewer have no interval worth the name


def correlated(
    x: ArrayLike,
    y: ArrayLike,
    bar: float = 0.0,
    *,
    ranked: bool = True,
    clusters: Iterable[Hashable] | None = None,
    seeds: Iterable[Hashable] | None = None,
    seed: int = 0,
) -> Evidence:
    """The correlation of two values over items, held against a bar; with several seeds, their mean.

    Args:
        x, y: (items,).
        bar: subtracted from the coefficient.
        ranked: Spearman's coefficient; else Pearson's.
        clusters: (items,), what is independent; left out, every item is.
        seeds: (items,); ranks are taken within each seed.
        seed: of the bootstrap.

    Returns:
        Evidence on the coefficient minus the bar; its `error` is on Fisher's scale, as it is where the bar is true.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    cluster_of = numbered(range(len(a)) if clusters is None else clusters)
    seed_of = numbered([0] * len(a) if seeds is None else seeds)
    if len(a) == 0:
        return nothing()
    parts = [np.flatnonzero(seed_of == s) for s in range(int(seed_of.max()) + 1)]
    units = int(cluster_of.max()) + 1
    each = np.array([coefficient(a[p], b[p], ranked=ranked) for p in parts])
    rho = float(each.mean())
    if units < FEWEST:
        return nothing(units, rho - bar)
    rng = np.random.default_rng([seed, units])
    draws = rng.multinomial(units, np.full(units, 1 / units), size=RESAMPLES).T.astype(np.float32)
    drawn = np.mean([_weighted(a[p], b[p], draws[cluster_of[p]], ranked=ranked) for p in parts], axis=0)  # (resamples,)
    if len(parts) > 1 and _seeds_differ(each, drawn):
        return Means([each]).contrast([1.0], -bar).decided_by_seeds()
    grouped = units < max(len(p) for p in parts)
    spread = 0.5 if ranked else 0.0  # Bonett and Wright's addition for ranks
    z = math.atanh(_short_of_perfect(rho, units) if ranked else min(max(rho, -0.9999), 0.9999))
    if grouped:
        error = float(np.std(np.arctanh(np.clip(drawn, -0.9999, 0.9999))))
        reach = float(special.stdtrit(units - 1, 1 - TAIL)) * error
    else:
        variances = [(1 + e * e * spread) / max(len(p) - 3, 1) for e, p in zip(each, parts, strict=True)]
        error = math.sqrt(math.fsum(variances)) / len(parts)
        reach = float(special.ndtri(1 - TAIL)) * error
    percentiles = np.quantile(drawn, [TAIL, 1 - TAIL])
    low, high = min(math.tanh(z - reach), float(percentiles[0])), max(math.tanh(z + reach), float(percentiles[1]))
    away = (z - math.atanh(min(max(bar, -0.9999), 0.9999))) / error if error else math.copysign(math.inf, rho - bar)
    above = max(float(special.ndtr(-away)), float((drawn <= bar).mean()))
    below = max(float(special.ndtr(away)), float((drawn >= bar).mean()))
    at_bar = error * math.sqrt((1 + bar * bar * spread) / (1 + rho * rho * spread))
    half = _half_missed(bar, rho, max(z - math.atanh(max(low, -0.9999)), 0.0), spread) if error else None
    return Evidence(rho - bar, low - bar, high - bar, above, below, at_bar, math.inf, units, differing=units, half=half)


def coefficient(x: Floats, y: Floats, *, ranked: bool = True) -> float:
    """Spearman's coefficient, or Pearson's (SciPy's); 0 where one side does not vary, since then nothing is ordered."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(stats.spearmanr(x, y).statistic if ranked else stats.pearsonr(x, y).statistic)


def trends(table: ArrayLike, levels: ArrayLike) -> Floats:
    """Within each unit, the rank correlation of a metric with the levels of a condition.

    Args:
        table: (units, levels), the metric.
        levels: (levels,), the condition.

    Returns:
        (units,); 0 where the metric does not vary.
    """
    ranks = stats.rankdata(np.asarray(table, dtype=np.float64), axis=1)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    along = stats.rankdata(np.asarray(levels, dtype=np.float64))
    along -= along.mean()
    length = np.sqrt((ranks**2).sum(axis=1) * (along**2).sum())
    found: Floats = np.divide(ranks @ along, length, out=np.zeros(len(ranks)), where=length > 0)
    return found


def trend(means: Means, bar: float, levels: int) -> Evidence:
    """The mean of units' trends, held against a bar.

    Where every unit is in perfect order there is no spread to go by. Then the chance of that is Page's (each unit's
    levels shuffled: one in `levels!`), and the interval allows for a swap of neighbours in as many units as could
    have gone unseen.

    Args:
        means: of one column, what `trends` gives, turned so that the claimed direction is positive.
        bar: subtracted from the mean.
        levels: how many levels each unit was ordered over.
    """
    found = means.contrast([1.0], -bar)
    order = float(means.columns.min()) if means.units else 0.0
    if found.units < 1 or order < 1 - 1e-12:
        return found
    swap = 12 / (levels**3 - levels)  # what one swap of neighbours takes off Spearman's coefficient
    unseen = 1 - TAIL ** (1 / means.clusters)
    chance = max(math.factorial(levels) ** -means.clusters, max(0.0, 1 - (1 - bar) / swap) ** means.clusters)
    low = 1 - unseen * swap - bar
    return Evidence(1 - bar, low, 1 - bar, chance, 1.0, math.nan, 0.0, means.clusters, differing=means.clusters)


def _weighted(x: Floats, y: Floats, weights: Weights, *, ranked: bool = True) -> Floats:
    """(resamples,): the coefficient with each item counted `weights` (items, resamples) times."""
    if ranked:
        p, q = _midranks(x, weights), _midranks(y, weights)
    else:
        p, q = (np.tile((v - v.mean()) / (v.std() or 1.0), (weights.shape[1], 1)).T for v in (x, y))
    total = np.maximum(weights.sum(axis=0), 1)
    p = p - np.einsum("ir,ir->r", weights, p) / total
    q = q - np.einsum("ir,ir->r", weights, q) / total
    weighted = weights * p
    length = np.sqrt(np.einsum("ir,ir->r", weighted, p) * np.einsum("ir,ir,ir->r", weights, q, q))
    product = np.einsum("ir,ir->r", weighted, q)
    found: Floats = np.divide(product, length, out=np.zeros(len(product)), where=length > 1e-6)
    return found


def _midranks(values: Floats, weights: Weights) -> Weights:
    _, place = np.unique(values, return_inverse=True)  # ties share a place
    order = np.argsort(place, kind="stable")
    ends = np.flatnonzero(np.diff(place[order], append=place.max() + 1))
    upto = np.cumsum(weights[order], axis=0)[ends]  # (places, resamples)
    start = np.concatenate([np.zeros_like(upto[:1]), upto[:-1]])
    return np.asarray((start + upto) / 2, dtype=np.float32)[place]


def _half_missed(bar: float, rho: float, reach: float, spread: float) -> float:
    """How far above the bar, on Fisher's scale, a truth lies whose interval just reaches down to the bar.

    Args:
        bar, rho: where it must lie above, and what was seen.
        reach: from what was seen to the lower end of its interval, on Fisher's scale.
        spread: by how much the variance on Fisher's scale grows with the squared coefficient.
    """
    start = math.atanh(min(max(bar, -0.9999), 0.9999))

    def short(distance: float) -> float:
        wider = math.sqrt((1 + math.tanh(start + distance) ** 2 * spread) / (1 + rho * rho * spread))
        return distance - reach * wider

    return float(optimize.brentq(short, 0.0, 2 * reach + 1e-12))


def _seeds_differ(each: Floats, drawn: Floats) -> bool:
    between = float(np.var(each, ddof=1)) / len(each)
    return between > float(np.var(drawn)) * (1.0 if len(each) > 2 else 0.25)


def _short_of_perfect(rho: float, items: int) -> float:
    most = 1 - 12 / (items**3 - items)
    return min(max(rho, -most), most)
