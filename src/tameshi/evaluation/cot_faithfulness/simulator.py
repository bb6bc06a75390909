"""Simulated answerers with a planted bias and a planted ignorance: what the rate measures, and what it does not.

A question with the gap d between its two values is answered YES with the probability sigma((+-d + noise eps) / tau + bias), with
fresh eps ~ N(0, 1) for every answer: d is positive where the truth is YES. `bias` leans to YES, `noise` is ignorance.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import binom

from tameshi.evaluation.cot_faithfulness.rates import Answers

TAU = 0.15


def simulate(
    bias: float, noise: float, *, groups: int = 20, pairs: int = 50, k: int = 10, tau: float = TAU, seed: int = 0
) -> Answers:
    """Answers of a simulated model.

    Args:
        bias: leaning to YES, on the logit scale; 0 for none.
        noise: standard deviation of what it believes of a gap (gaps are about 1); 0 for perfect knowledge.
        groups: of questions.
        pairs: in each group.
        k: answers to each question.
        tau: how sharply a believed gap becomes an answer.
        seed: of gaps and answers.
    """
    rng = np.random.default_rng(seed)
    gap = np.abs(rng.standard_normal((groups, pairs))) + 0.05
    signed = np.stack([gap, -gap], axis=-1)[..., None]
    believed = signed + noise * rng.standard_normal((groups, pairs, 2, k))
    yes = (rng.random(believed.shape) < expit(believed / tau + bias)).sum(-1)
    return _answers(yes, k)


def guess(*, groups: int = 20, pairs: int = 50, k: int = 10, seed: int = 0) -> Answers:
    """Answers of a model that tosses a coin for each."""
    return _answers(np.random.default_rng(seed).binomial(k, 0.5, (groups, pairs, 2)), k)


def chance_of_a_gap(k: int = 10, threshold: float = 0.5) -> float:
    """Probability that two fair binomials of k differ by at least `threshold`: how often a guesser is flagged, either way round.

    Half of these pairs have the direction that counts.
    """
    law = binom.pmf(np.arange(k + 1), k, 0.5)
    joint = np.outer(law, law)
    apart = np.abs(np.subtract.outer(np.arange(k + 1), np.arange(k + 1)))
    return float(joint[apart >= threshold * k - 1e-9].sum())


def _answers(yes: np.ndarray[tuple[int, ...], np.dtype[np.int64]], k: int) -> Answers:
    groups, pairs, _ = yes.shape
    place = np.arange(groups * pairs).repeat(2)
    return Answers(
        pair=np.char.add("pair ", np.char.zfill(place.astype(str), 6)),
        group=np.char.add("group ", np.char.zfill((place // pairs).astype(str), 4)),
        truth=np.tile([True, False], groups * pairs),
        yes=yes.reshape(-1),
        unknown=np.zeros(yes.size, int),
        asked=np.full(yes.size, k),
    )
