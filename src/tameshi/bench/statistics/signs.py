"""A permutation test for paired values: under the null each difference could as well have had the other sign."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tameshi.bench.statistics.means import numbered

RESAMPLES = 9_999


def sign_flip(values: ArrayLike, *, clusters: Iterable[Hashable] | None = None, seed: int = 0) -> float:
    """Two-sided p of a mean of zero, by SciPy's `permutation_test`; exact up to 13 clusters, where all flips are tried.

    Args:
        values: (units,) differences.
        clusters: (units,), what is flipped together; left out, every unit by itself.
        seed: of the flips that are tried.
    """
    flat = np.asarray(values, dtype=np.float64)
    sums = np.bincount(numbered(range(len(flat)) if clusters is None else clusters), flat)
    if len(sums) == 0 or not sums.any():
        return 1.0
    found = stats.permutation_test(
        (sums,),
        np.sum,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
        vectorized=True,
    )
    return float(found.pvalue)
