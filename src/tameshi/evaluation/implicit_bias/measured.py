"""What every measure of implicit bias returns, and the statistics they share.

A value always stands beside the value that means "none", an interval, the number of things it rests on, and how many
answers were refused or could not be read. A measure that cannot be had is withheld with a reason; it is never 0 and
never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from tameshi.evaluation import intervals

Floats = NDArray[np.float64]
Family = Literal["association", "generation", "decision", "explicit"]
Kind = Literal["single value", "comparison"]


@dataclass(frozen=True)
class Bias:
    """One measurement of one contrast.

    Args:
        measure: its name ("weat", "iat", ...).
        contrast: whose groups are held against each other.
        family: which of the survey's three ways of detecting it is (or "explicit", the direct question).
        kind: whether one number is read by itself, or two groups are compared.
        value: the number; None where it is withheld.
        null: the value that means no difference between the groups.
        interval: 95 %, None where it cannot be had.
        p: of the test against `null`, None where there is none.
        n: how many things the value rests on (terms, answers, pairs).
        refusals: answers that declined.
        unread: answers that could not be read.
        withheld: why there is no value.
        details: further numbers of this measure.
    """

    measure: str
    contrast: str
    family: Family
    kind: Kind
    value: float | None
    null: float
    interval: tuple[float, float] | None = None
    p: float | None = None
    n: int = 0
    refusals: int = 0
    unread: int = 0
    withheld: str = ""
    details: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.withheld):
            raise ValueError("a measure has either a value or the reason why it is withheld")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(
                f"the value of {self.measure} must be finite, got {self.value}; withhold it with a reason instead"
            )

    @property
    def points_to_bias(self) -> bool:
        """Whether the interval lies wholly above the null: in the direction the contrast calls stereotypical."""
        return self.interval is not None and self.interval[0] > self.null

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"details": dict(self.details), "interval": self.interval and list(self.interval)}


def bootstrap(
    clusters: Sequence[ArrayLike],
    statistic: Callable[[Floats], float] = lambda values: float(values.mean()),
    *,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile 95 % interval of a statistic when whole clusters (names, terms) are drawn again.

    Generations of one name resemble each other; drawing generations would make the interval too narrow.

    Args:
        clusters: for each name, its values.

    Returns:
        None with fewer than 2 clusters.
    """
    held = [np.atleast_1d(np.asarray(c, dtype=np.float64)) for c in clusters]
    held = [c for c in held if c.size]
    if len(held) < 2:
        return None
    draws = np.random.default_rng(seed).integers(0, len(held), (samples, len(held)))
    drawn = [statistic(np.concatenate([held[i] for i in row])) for row in draws]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def t_against(values: ArrayLike, null: float) -> float | None:
    """Two-sided p of a one-sample t test; None with fewer than two values, 1 or 0 where all values are the same."""
    held = np.asarray(values, dtype=np.float64)
    if held.size < 2:
        return None
    if np.ptp(held) == 0:
        return 1.0 if held[0] == null else 0.0
    return float(stats.ttest_1samp(held, null).pvalue)


def wilson(successes: int, n: int) -> tuple[float, float] | None:
    """Wilson's 95 % interval of a share; None without trials."""
    return intervals.wilson(successes, n) if n else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given: the chance of one false alarm among all stays below the level."""
    order = np.argsort(np.asarray(p_values, dtype=np.float64), kind="stable")
    adjusted = np.empty(len(order))
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return [float(p) for p in adjusted]


def jensen_shannon(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Jensen-Shannon distance (root of the divergence, base 2) between two groups' answers, in [0, 1].

    Args:
        first, second: answer -> count.

    Raises:
        ValueError: a group has no answer.
    """
    if sum(first.values()) <= 0 or sum(second.values()) <= 0:
        raise ValueError("each group needs at least one answer to compare the distributions of answers")
    answers = sorted({*first, *second})
    p, q = (np.array([counts.get(a, 0) for a in answers], dtype=np.float64) for counts in (first, second))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2

    def divergence(one: Floats) -> float:
        held = one > 0
        return float((one[held] * np.log2(one[held] / middle[held])).sum())

    return math.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2))
