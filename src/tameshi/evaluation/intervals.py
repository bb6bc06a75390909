"""Intervals of a share."""

from __future__ import annotations

from math import nan, sqrt

Z95 = 1.959963984540054


def wilson(successes: float, trials: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share; (nan, nan) without trials.

    Args:
        successes: out of `trials`.
        trials: how many.
        z: quantile of the normal distribution; 1.96 for 95%.
    """
    if trials == 0:
        return nan, nan
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return 0.0 if successes == 0 else low, 1.0 if successes == trials else high  # exactly, where rounding leaves 1e-17
