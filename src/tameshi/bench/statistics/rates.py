"""Rates of yes and no: Wilson for one rate, Newcombe and McNemar for two on the same items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from tameshi.bench.statistics.evidence import LEVEL, TAIL, Evidence, nothing

Interval = tuple[float, float]

FARTHEST = 37.0  # standard errors; beyond, a tail is zero in double precision


@dataclass(frozen=True)
class Table:
    """How often two methods said yes on the same items: both, only the first, only the second, neither."""

    both: int
    first: int
    second: int
    neither: int

    @classmethod
    def of(cls, first: ArrayLike, second: ArrayLike) -> Table:
        """Count it from two (items,) arrays of 0 and 1."""
        a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
        return cls(int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum()))

    @property
    def items(self) -> int:
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> float:
        """Rate of the first minus rate of the second."""
        return (self.first - self.second) / self.items


def wilson(successes: int, items: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a rate (SciPy's, without continuity correction)."""
    found = stats.binomtest(successes, items).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def newcombe(table: Table, level: float = LEVEL) -> Interval:
    """Newcombe's interval of the difference of two paired rates.

    Newcombe 1998, Statistics in Medicine 17:2635, method 10: Wilson's intervals of both rates, put together with their
    correlation, which is corrected for continuity where it is positive.
    """
    return _newcombe(table, float(special.ndtri((1 + level) / 2)))


def mcnemar(table: Table) -> float:
    """McNemar's exact two-sided p: the items on which the two differ are a fair coin."""
    differ = table.first + table.second
    return float(stats.binomtest(table.first, differ).pvalue) if differ else 1.0


def paired_rates(table: Table, bar: float = 0.0) -> Evidence:
    """The difference of two paired rates, held against a bar: Newcombe's interval, McNemar's p where the bar is zero.

    For another bar the p is the level at which Newcombe's interval reaches it.
    """
    if table.items == 0:
        return nothing()
    estimate = table.difference - bar
    low, high = (end - bar for end in newcombe(table))
    differ = table.first + table.second
    if bar == 0:
        if differ == 0:
            return Evidence(0.0, 0.0, 0.0, 1.0, 1.0, 0.0, math.inf, table.items)
        above = float(stats.binom.sf(table.first - 1, differ, 0.5))
        below = float(stats.binom.cdf(table.first, differ, 0.5))
    else:
        side = 0 if estimate > 0 else 1

        def gap(z: float) -> float:
            return (_newcombe(table, z)[side] - bar) * (1 if side == 0 else -1)

        reach = 0.0 if estimate == 0 else FARTHEST if gap(FARTHEST) > 0 else float(optimize.brentq(gap, 0.0, FARTHEST))
        tail = float(special.ndtr(-reach))
        above, below = (tail, 1 - tail) if estimate > 0 else (1 - tail, tail)
    z = float(special.ndtri(1 - TAIL))
    error = (high - low) / 2 / z
    half = (z * math.sqrt(differ) + 1) / table.items if bar == 0 else None  # the exact test wants one item more
    differing = max(differ, int(bar != 0))
    return Evidence(estimate, low, high, above, below, error, math.inf, table.items, differing=differing, half=half)


def rate(successes: int, items: int, bar: float) -> Evidence:
    """A rate, held against a bar: Wilson's interval, and the exact binomial tails."""
    if items == 0:
        return nothing()
    low, high = wilson(successes, items)
    above = float(stats.binom.sf(successes - 1, items, min(max(bar, 0.0), 1.0)))
    below = float(stats.binom.cdf(successes, items, min(max(bar, 0.0), 1.0)))
    error = math.sqrt(bar * (1 - bar) / items) if 0 < bar < 1 else 0.0  # as it is where the bar is true
    half = float(special.ndtri(1 - TAIL)) * error + 0.5 / items
    estimate = successes / items - bar
    return Evidence(estimate, low - bar, high - bar, above, below, error, math.inf, items, differing=items, half=half)


def _newcombe(table: Table, z: float) -> Interval:
    n = table.items
    p1, p2 = (table.both + table.first) / n, (table.both + table.second) / n
    low1, high1 = _wilson(p1, n, z)
    low2, high2 = _wilson(p2, n, z)
    margins = (table.both + table.first) * (table.second + table.neither)
    margins *= (table.both + table.second) * (table.first + table.neither)
    cross = float(table.both * table.neither - table.first * table.second)
    if cross > 0:
        cross = max(cross - n / 2, 0.0)
    phi = cross / math.sqrt(margins) if margins else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    return p1 - p2 - reach(p1 - low1, high2 - p2), p1 - p2 + reach(high1 - p1, p2 - low2)


def _wilson(p: float, n: int, z: float) -> Interval:
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))
