"""Runs that differ in their seed: interquartile mean and probability of improvement, as rliable defines them.

Agarwal et al. 2021, arXiv:2108.13264, and its library rliable (Apache-2.0), whose definitions these follow; the code
is ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tameshi.bench.statistics.evidence import TAIL

Interval = tuple[float, float]


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean: of the middle half of all scores.

    Args:
        scores: (seeds,) or (seeds, tasks); all are pooled.
    """
    return float(stats.trim_mean(np.ravel(np.asarray(scores, dtype=np.float64)), 0.25))


def iqm_interval(scores: ArrayLike, *, resamples: int = 2_000, seed: int = 0) -> Interval:
    """95 % percentile bootstrap of the interquartile mean; seeds are resampled within each task.

    Args:
        scores: (seeds,) or (seeds, tasks).
    """
    table = _table(scores)
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(table), size=(resamples, *table.shape))
    drawn = np.take_along_axis(table[None], picked, axis=1).reshape(resamples, -1)
    low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), [TAIL, 1 - TAIL])
    return float(low), float(high)


def improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Probability that a run of x scores higher than a run of y on the same task, ties counting half, mean over tasks.

    Args:
        x: (seeds,) or (seeds, tasks).
        y: (other seeds,) or (other seeds, tasks), with the same tasks.
    """
    a, b = _table(x), _table(y)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both sides need the same tasks, got {a.shape[1]} and {b.shape[1]}")
    wins = [stats.mannwhitneyu(p, q).statistic / (len(p) * len(q)) for p, q in zip(a.T, b.T, strict=True)]
    return float(np.mean(wins))


def improvement_interval(x: ArrayLike, y: ArrayLike, *, resamples: int = 2_000, seed: int = 0) -> Interval:
    """95 % percentile bootstrap of `improvement`; seeds are resampled within each task and side."""
    a, b = _table(x), _table(y)
    rng = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for p, q in zip(a.T, b.T, strict=True):
        wins = (p[:, None] > q[None]) + 0.5 * (p[:, None] == q[None])  # (seeds of x, seeds of y)
        drawn_p = rng.multinomial(len(p), np.full(len(p), 1 / len(p)), size=resamples) / len(p)
        drawn_q = rng.multinomial(len(q), np.full(len(q), 1 / len(q)), size=resamples) / len(q)
        means += np.einsum("ri,ij,rj->r", drawn_p, wins, drawn_q) / a.shape[1]
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return float(low), float(high)


def _table(scores: ArrayLike) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"scores must be (seeds,) or (seeds, tasks) and not empty, got shape {table.shape}")
    return table
