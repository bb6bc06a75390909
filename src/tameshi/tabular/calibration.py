"""How far predictions are off, and whether their standard deviations say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

LEVELS = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class CalibrationReport:
    """Errors relative to the true value, and the calibration of central Gaussian intervals.

    Args:
        mean_error, median_error, largest_error: of |prediction - truth| / |truth|.
        beyond_tenth: share of predictions that are off by more than 10 %.
        rms_error: root of the mean square of the relative error.
        sharpness: mean relative standard deviation.
        coverage: (19,), share of truths inside the central interval of each level in LEVELS.
        miscalibration: mean of |coverage - level|.
        miscalibration_area: area between the curve of coverage and the diagonal, from 0 to 1.
    """

    mean_error: float
    median_error: float
    largest_error: float
    beyond_tenth: float
    rms_error: float
    sharpness: float
    coverage: Floats
    miscalibration: float
    miscalibration_area: float


def calibration_report(truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> CalibrationReport:
    """Measure predictions against the truth; all three (rows,).

    Raises:
        ValueError: a truth of 0 (it has no relative error), or a standard deviation that is negative.
    """
    truth, mean, std = (np.asarray(v, dtype=np.float64) for v in (truth, mean, std))
    error = relative_error(truth, mean)
    observed = coverage(truth, mean, std)
    levels, curve = np.r_[0, LEVELS, 1], np.r_[0, observed, 1]
    return CalibrationReport(
        float(error.mean()),
        float(np.median(error)),
        float(error.max()),
        float((error > 0.1).mean()),
        float(np.sqrt(np.square(error).mean())),
        float((std / np.abs(truth)).mean()),
        observed,
        float(np.abs(observed - LEVELS).mean()),
        float(np.trapezoid(np.abs(curve - levels), levels)),
    )


def relative_error(truth: ArrayLike, mean: ArrayLike) -> Floats:
    """|prediction - truth| / |truth|, (rows,)."""
    truth = np.asarray(truth, dtype=np.float64)
    if np.any(truth == 0):
        raise ValueError("a true value of 0 has no relative error; leave those rows out")
    return np.asarray(np.abs((np.asarray(mean, dtype=np.float64) - truth) / truth))


def coverage(truth: ArrayLike, mean: ArrayLike, std: ArrayLike, levels: ArrayLike = LEVELS) -> Floats:
    """Share of truths inside the central Gaussian interval of each level, (levels,)."""
    distance = standardised_distance(truth, mean, std)
    half_widths = ndtri((1 + np.asarray(levels, dtype=np.float64)) / 2)
    return np.asarray((distance[:, None] <= half_widths).mean(axis=0))


def standardised_distance(truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> Floats:
    """|truth - prediction| in standard deviations, (rows,); 0 where it is met exactly, infinite where a spread of 0 misses.

    Raises:
        ValueError: a standard deviation that is negative.
    """
    std = np.asarray(std, dtype=np.float64)
    if not np.all(std >= 0):
        raise ValueError("a standard deviation must be at least 0")
    gap = np.abs(np.asarray(truth, dtype=np.float64) - np.asarray(mean, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap == 0, 0.0, gap / std)


def conformal_scale(truth: ArrayLike, mean: ArrayLike, std: ArrayLike, *, level: float = 0.95) -> float:
    """What standard deviations must be multiplied with, by split conformal prediction on held-out rows.

    Afterwards a central Gaussian interval of this level covers a new truth with at least this probability, if the
    held-out rows and the new one are exchangeable (Papadopoulos 2002).

    Raises:
        ValueError: too few rows for the level: level 0.95 needs 19.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    distance = np.sort(standardised_distance(truth, mean, std))
    rank = int(np.ceil((len(distance) + 1) * level))
    if rank > len(distance):
        needed = int(np.ceil(level / (1 - level) - 1e-9))
        raise ValueError(f"a level of {level} needs at least {needed} held-out rows, got {len(distance)}")
    return float(distance[rank - 1] / ndtri((1 + level) / 2))
