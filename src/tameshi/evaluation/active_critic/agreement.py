"""How far a critic agrees with people: three correlations, their mean, and what each item adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
PER_SOURCE = 8  # outputs of one source from which a correlation within it says something


@dataclass(frozen=True)
class Agreement:
    """Agreement of two lists of scores.

    Args:
        pearson, spearman, kendall: correlations (tau-b); 0 where they are undefined.
        degenerate: one of the lists is constant, so that no correlation is defined.
        error: mean absolute difference, in points of the scale.
        n: items with both scores.
        unread: items without a score of the critic.
    """

    pearson: float
    spearman: float
    kendall: float
    degenerate: bool
    error: float
    n: int
    unread: int = 0

    @property
    def objective(self) -> float:
        """Mean of the three correlations: what the choice of a prompt maximises (our choice)."""
        return (self.pearson + self.spearman + self.kendall) / 3


def agreement(human: ArrayLike, critic: ArrayLike) -> Agreement:
    """Agreement over all items at once.

    Args:
        human: (n,) scores of people.
        critic: (n,) scores of the critic; NaN where it could not be read.

    Raises:
        ValueError: lists of different length, or a human score that is not finite.
    """
    people, judged = np.asarray(human, dtype=np.float64), np.asarray(critic, dtype=np.float64)
    if people.shape != judged.shape or people.ndim != 1:
        raise ValueError(
            f"every item needs a score of people and one of the critic, got {people.shape} and {judged.shape}"
        )
    if not np.isfinite(people).all():
        raise ValueError("the scores of people must be finite; leave out items without one")
    held = np.isfinite(judged)
    unread = int((~held).sum())
    people, judged = people[held], judged[held]
    error = float(np.abs(people - judged).mean()) if len(people) else 0.0
    if len(people) < 2 or np.ptp(people) == 0 or np.ptp(judged) == 0:
        return Agreement(0.0, 0.0, 0.0, True, error, len(people), unread)
    return Agreement(
        pearson=float(stats.pearsonr(people, judged).statistic),
        spearman=float(stats.spearmanr(people, judged).statistic),
        kendall=float(stats.kendalltau(people, judged).statistic),
        degenerate=False,
        error=error,
        n=len(people),
        unread=unread,
    )


def per_source(human: ArrayLike, critic: ArrayLike, sources: Sequence[str]) -> float | None:
    """Mean Spearman within sources that have at least eight outputs; None without such a source.

    Means over documents with three or four outputs, as some evaluations report them, are mostly noise.
    """
    people, judged = np.asarray(human, dtype=np.float64), np.asarray(critic, dtype=np.float64)
    places: dict[str, list[int]] = {}
    for place, source in enumerate(sources):
        places.setdefault(source, []).append(place)
    within = [agreement(people[own], judged[own]) for own in places.values() if len(own) >= PER_SOURCE]
    scored = [a.spearman for a in within if not a.degenerate]
    return float(np.mean(scored)) if scored else None


def contributions(human: ArrayLike, critic: ArrayLike) -> Floats:
    """(n,) what each item adds to Spearman's coefficient: products of standardised ranks, whose mean it is.

    So two critics can be compared item by item, or source by source. NaN where the critic has no score; zeros where a
    list is constant.
    """
    people, judged = np.asarray(human, dtype=np.float64), np.asarray(critic, dtype=np.float64)
    held = np.isfinite(judged)
    found = np.full(len(people), np.nan)
    if held.sum() < 2:
        found[held] = 0.0
        return found
    ranks = [stats.rankdata(v[held]) for v in (people, judged)]
    if any(np.ptp(r) == 0 for r in ranks):
        found[held] = 0.0
        return found
    first, second = ((r - r.mean()) / r.std() for r in ranks)
    found[held] = first * second
    return found


def expected_score(probabilities: dict[float, float]) -> float:
    """Σ k·p(k) over the scores that a model gave probability to, normalised (G-Eval with log-probabilities).

    Raises:
        ValueError: nothing has probability.
    """
    total = sum(probabilities.values())
    if total <= 0:
        raise ValueError("no score has any probability")
    return sum(score * p for score, p in probabilities.items()) / total
