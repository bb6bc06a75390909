"""What the numbers say about one contrast: is its mean above zero?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Evidence:
    """An estimate, its interval, and how surprising it would be on either side of zero.

    Args:
        estimate: of the contrast.
        low, high: 95 % interval; an end may be infinite.
        above: one-sided p against "the contrast is at most zero"; small where the contrast is positive.
        below: one-sided p against "the contrast is at least zero".
        error: standard error; NaN where the interval does not rest on one.
        freedom: degrees of freedom of `error`.
        units: independent units behind it.
        by_seeds: whether seeds, not items, decide: they differ by more than their items explain.
        differing: units whose contrast is not exactly zero.
        half: the true contrast that half of such runs would miss, where more is known of it than `error` and
            `freedom` say.
    """

    estimate: float
    low: float
    high: float
    above: float
    below: float
    error: float
    freedom: float
    units: int
    by_seeds: bool = False
    differing: int = 0
    half: float | None = None

    @property
    def p(self) -> float:
        """Two-sided: twice the smaller tail."""
        return min(1.0, 2 * min(self.above, self.below))

    @property
    def shown(self) -> bool:
        """The interval lies above zero, and so few units could hardly have fallen this way by chance."""
        return self.low > 0 and self.above <= TAIL

    @property
    def refuted(self) -> bool:
        """The interval lies at or below zero. Where no unit differs at all there is nothing left to doubt."""
        return self.high <= 0 and (self.below <= TAIL or self.differing == 0)

    def decided_by_seeds(self) -> Evidence:
        """The same, with seeds named as what decides."""
        return replace(self, by_seeds=True)


def nothing(units: int = 0, estimate: float = math.nan) -> Evidence:
    """No evidence either way: no unit, or one, which has no spread."""
    return Evidence(estimate, -math.inf, math.inf, 1.0, 1.0, math.nan, 0.0, units)
