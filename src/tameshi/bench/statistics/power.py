"""What would have been missed, and how many units would settle it.

Both answers follow from the noncentral t distribution: with a true contrast of `effect`, the interval's lower end is
above zero with the probability that a noncentral t exceeds Student's critical value.
"""

from __future__ import annotations

import math

from scipy import optimize, special

from tameshi.bench.statistics.evidence import TAIL, Evidence

MOST = 1_000_000  # units; more is no answer that helps


def power(effect: float, error: float, freedom: float) -> float:
    """Probability that the interval lies above zero if the true contrast is `effect`.

    Args:
        effect: true contrast.
        error: standard error of its estimate.
        freedom: degrees of freedom of that error.
    """
    critical, centre = _critical(freedom), effect / error
    if freedom > 1_000 or centre > 38:  # Student is normal by then, and SciPy's noncentral t leaves its range
        return float(special.ndtr(centre - critical))
    return 1.0 - float(special.nctdtr(freedom, centre, critical))


def detectable(error: float, freedom: float, wanted: float = 0.5) -> float:
    """The true contrast at which the interval lies above zero with probability `wanted`."""
    if error == 0:
        return 0.0
    critical = _critical(freedom)
    high = 2 * critical + 5.0
    return error * float(optimize.brentq(lambda effect: power(effect, 1.0, freedom) - wanted, 0.0, high, xtol=1e-6))


def half_missed(evidence: Evidence) -> float:
    """The true contrast that half of such runs would miss, in the unit of the standard error; NaN without one."""
    if evidence.half is not None:
        return evidence.half
    if not evidence.error > 0:
        return math.nan
    return detectable(typical(evidence.error, evidence.freedom), evidence.freedom)


def typical(error: float, freedom: float) -> float:
    """A standard error as large as its true value in half of all runs; the usual one is too small in more than half."""
    if not math.isfinite(freedom):
        return error
    return error * math.sqrt(freedom / float(special.chdtri(freedom, 0.5)))


def required(effect: float, spread: float, wanted: float = 0.8, fewest: int = 2, extra: float = 0.0) -> int | None:
    """How many units it takes for the interval to lie above zero with probability `wanted`.

    Args:
        effect: true contrast.
        spread: standard deviation of the contrast between units.
        fewest: no answer below this.
        extra: what the interval asks for beyond Student's, times the units.

    Returns:
        None if it would take more than a million.
    """
    if effect <= 0:
        return None
    ratio, extra = spread / effect, extra / effect

    def enough(units: int) -> bool:
        return power(1.0 - extra / units, ratio / math.sqrt(units), units - 1.0) >= wanted

    low, high = max(fewest, 2) - 1, MOST
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _critical(freedom: float) -> float:
    return float(special.stdtrit(freedom, 1 - TAIL)) if math.isfinite(freedom) else float(special.ndtri(1 - TAIL))
