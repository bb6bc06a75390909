"""A simulated world of rated texts, in which what an active critic can do is known without a language model.

160 texts have eight latent qualities; people's score is three of them, weighted, with noise. A judge's score on a
criterion is noisy and rounded. Passive: three criteria at random. Inferred: the three whose noisy scores correlate best
with the labels ("either sign": most strongly, whichever way). Optimised: the best of eight candidate lists by agreement
on the same labels. Coarse: one noisy score for everything. Oracle: the true three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tameshi.evaluation.active_critic.agreement import Floats, contributions

TEXTS, QUALITIES, TRUE, TEST = 160, 8, 3, 120
METHODS = ("passive", "inferred", "inferred, either sign", "active critic", "coarse", "oracle")


@dataclass(frozen=True)
class Outcome:
    """Spearman's correlation with people on texts that chose nothing, and on the labels that chose (or None)."""

    test: float
    selection: float | None


@dataclass(frozen=True)
class RatedTexts:
    """One draw of the world.

    Args:
        people: (160,) scores of people; the last 120 texts are the test.
        criteria: (160, 8) the judge's scores of the eight qualities, 1 to 5.
        coarse: (160,) its score of everything at once.
        true: which three qualities people reward.
    """

    people: Floats
    criteria: Floats
    coarse: Floats
    true: tuple[int, ...]


def draw(seed: int) -> RatedTexts:
    """One world."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(TEXTS, QUALITIES))
    true = tuple(sorted(int(k) for k in rng.permutation(QUALITIES)[:TRUE]))
    people = latent[:, true] @ rng.uniform(0.5, 1, TRUE) + rng.normal(0, 0.4, TEXTS)
    criteria = np.clip(np.round(3 + latent + rng.normal(0, 0.8, latent.shape)), 1, 5)
    coarse = np.clip(np.round(3 + 2 * latent.mean(axis=1) + rng.normal(0, 0.8, TEXTS)), 1, 5)
    return RatedTexts(people, criteria, coarse, true)


def outcome(method: str, world: RatedTexts, labels: int, *, seed: int = 0, shuffled: bool = False) -> Outcome:
    """How a method does with so many labels.

    Args:
        method: one of `METHODS`.
        world: the texts; the last 120 are the test.
        labels: scored texts that may be looked at, at most 40.
        seed: of the random lists.
        shuffled: the labels are dealt out to other texts, so that there is nothing to infer.

    Raises:
        ValueError: no such method, or too many labels.
    """
    if not 2 <= labels <= TEXTS - TEST:
        raise ValueError(f"between 2 and {TEXTS - TEST} labels can be had, got {labels}")
    rng = np.random.default_rng([seed, labels])
    people = world.people[:labels]
    if shuffled:
        people = rng.permutation(people)
    if method == "coarse":
        return Outcome(_spearman(world.people[-TEST:], world.coarse[-TEST:]), None)
    if method == "oracle":
        return Outcome(_on_test(world, list(world.true)), None)
    if method == "passive":  # the same three, however many labels there are
        rng = np.random.default_rng(seed)
        return Outcome(_on_test(world, [int(k) for k in rng.permutation(QUALITIES)[:TRUE]]), None)
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    seen = world.criteria[:labels]
    found = np.array([_spearman(people, seen[:, k]) for k in range(QUALITIES)])
    if method == "inferred, either sign":  # a criterion that scores punish passes for one that they reward
        found = np.abs(found)
    ranked = np.argsort(-found, kind="stable")
    best = [int(k) for k in ranked[:TRUE]]
    selection = _spearman(people, seen[:, best].mean(axis=1))
    if method == "active critic":
        for _ in range(7):  # candidates beside the inferred list: one of its criteria for another
            other = list(best) if rng.random() < 0.5 else [int(k) for k in ranked[:TRUE]]
            other[int(rng.integers(TRUE))] = int(rng.choice([k for k in range(QUALITIES) if k not in other]))
            score = _spearman(people, seen[:, other].mean(axis=1))
            if score > selection:
                best, selection = other, score
    return Outcome(_on_test(world, best), selection)


def _on_test(world: RatedTexts, chosen: list[int]) -> float:
    return _spearman(world.people[-TEST:], world.criteria[-TEST:, chosen].mean(axis=1))


def _spearman(people: Floats, judged: Floats) -> float:
    return float(contributions(people, judged).mean())
