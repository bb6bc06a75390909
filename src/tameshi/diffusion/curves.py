"""Error over evaluations, read in the logarithms: how fast it falls, where it reaches a value, where two curves cross."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LAST = 3  # points from which a slope is taken


def slope(evaluations: Sequence[int], errors: Sequence[float]) -> float:
    """Of log error over log evaluations, by least squares over the last three; -2 is second order.

    Args:
        evaluations: ascending.
        errors: as many, above 0.
    """
    return float(np.polyfit(np.log(evaluations[-LAST:]), np.log(errors[-LAST:]), 1)[0])


def needed(evaluations: Sequence[int], errors: Sequence[float], error: float) -> float:
    """Evaluations at which an error is reached for good: linear in the logarithms, also beyond the last by its segment.

    Raises:
        ValueError: it is reached at the first already, or the curve does not come down to it.
    """
    x, y = np.log(evaluations), np.log(errors)
    above = np.flatnonzero(y > math.log(error))
    if not len(above):
        raise ValueError(f"the error is below {error:g} at {evaluations[0]} evaluations already")
    i = min(int(above[-1]), len(x) - 2)
    rate = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
    if rate >= 0:
        raise ValueError(f"the error does not come down to {error:g}")
    return float(math.exp(x[i] + (math.log(error) - y[i]) / rate))


def crossing(evaluations: Sequence[int], ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Evaluations from which on ours has the smaller error.

    Raises:
        ValueError: ours is better at the first already, or still worse at the last.
    """
    gap = np.log(ours) - np.log(theirs)
    above = np.flatnonzero(gap > 0)
    if not len(above):
        raise ValueError(f"ours is better at {evaluations[0]} evaluations already")
    i = int(above[-1])
    if i == len(gap) - 1:
        raise ValueError(f"ours is still worse at {evaluations[-1]} evaluations")
    x = np.log(evaluations)
    return float(math.exp(x[i] + gap[i] / (gap[i] - gap[i + 1]) * (x[i + 1] - x[i])))
