"""Word association in vectors: WEAT, SEAT and CEAT, with exact permutation tests.

WEAT (Caliskan et al. 2017): s(w) is the mean cosine of w with A minus that with B; the effect size d is the difference
of the mean s of X and Y over the sample standard deviation of s on both; the test permutes which half of the terms is
called X. SEAT does the same on sentences, CEAT on sampled contexts with a random-effects mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, combinations
from math import comb, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.evaluation.implicit_bias.measured import Bias, Floats

Encode = Callable[[list[str]], ArrayLike]
TEMPLATES = (
    "Here is {}.",
    "They spoke about {} today.",
    "{} was mentioned again.",
    "The word is {}.",
)  # our own wording


@dataclass(frozen=True)
class Permutation:
    """A one-sided permutation test: p, whether all splits were counted, and how many were."""

    p: float
    exact: bool
    splits: int


def associations(terms: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """s(w) for each term: mean cosine with A minus mean cosine with B.

    Args:
        terms, a, b: (n, dimension) each.

    Returns:
        (n,), in [-2, 2].

    Raises:
        ValueError: not finite, a zero vector, or different dimensions.
    """
    w, of_a, of_b = (_unit(v) for v in (terms, a, b))
    if not w.shape[1] == of_a.shape[1] == of_b.shape[1]:
        raise ValueError(f"vectors must share one dimension, got {w.shape[1]}, {of_a.shape[1]} and {of_b.shape[1]}")
    found: Floats = w @ (of_a.mean(axis=0) - of_b.mean(axis=0))
    return found


def effect_size(of_x: ArrayLike, of_y: ArrayLike) -> float | None:
    """d, at most 2·sqrt((2n-1)/(2n)) for equal sizes; None where all associations are the same."""
    x, y = np.asarray(of_x, dtype=np.float64), np.asarray(of_y, dtype=np.float64)
    both = np.concatenate([x, y])
    spread = both.std(ddof=1)
    if spread <= 1e-12 * max(1.0, float(np.abs(both).max())):
        return None
    return float((x.mean() - y.mean()) / spread)


def permutation_test(of_x: ArrayLike, of_y: ArrayLike, *, max_perm: int = 20_000, seed: int = 0) -> Permutation:
    """Share of equal-size splits whose sum over the first half is at least as high as the one observed (ties count).

    Exact where there are at most `max_perm` splits: one matrix product. Otherwise that many are sampled, and the one
    observed is added to numerator and denominator, so that p is never 0.

    Args:
        of_x, of_y: (n,) each, the same n.
        max_perm: at n = 8 there are 12,870 splits, at n = 9 already 48,620.

    Raises:
        ValueError: the groups differ in size.
    """
    x, y = np.asarray(of_x, dtype=np.float64), np.asarray(of_y, dtype=np.float64)
    if x.shape != y.shape:
        raise ValueError(f"the permutation test needs as many terms in X as in Y, got {len(x)} and {len(y)}")
    n, both = len(x), np.concatenate([x, y])
    # sum(X) - sum(Y) = 2 sum(X) - total, so that sum(X) decides; equal up to rounding is a tie
    observed = x.sum() - 1e-12 * np.abs(both).sum()
    if comb(2 * n, n) <= max_perm:
        sums = _splits(n) @ both
        return Permutation(float(np.count_nonzero(sums >= observed)) / len(sums), True, len(sums))
    rng = np.random.default_rng(seed)
    sums = rng.permuted(np.broadcast_to(both, (max_perm, 2 * n)), axis=1)[:, :n].sum(axis=1)
    return Permutation(float(np.count_nonzero(sums >= observed) + 1) / (max_perm + 1), False, max_perm)


@lru_cache(maxsize=16)
def _splits(n: int) -> Floats:
    """(C(2n, n), 2n): which terms are called X, one row a split."""
    chosen = np.fromiter(chain.from_iterable(combinations(range(2 * n), n)), dtype=np.intp, count=comb(2 * n, n) * n)
    splits = np.zeros((comb(2 * n, n), 2 * n))
    splits[np.arange(len(splits))[:, None], chosen.reshape(-1, n)] = 1.0
    return splits


def weat_vectors(
    x: ArrayLike, y: ArrayLike, a: ArrayLike, b: ArrayLike, *, max_perm: int = 20_000, seed: int = 0, name: str = ""
) -> Bias:
    """WEAT on vectors: d with its interval (terms drawn again) and the one-sided permutation p.

    Args:
        x, y, a, b: (n, dimension) each; as many in X as in Y.

    Raises:
        ValueError: see `associations` and `permutation_test`.
    """
    of_x, of_y = associations(x, a, b), associations(y, a, b)
    test = permutation_test(of_x, of_y, max_perm=max_perm, seed=seed)
    d = effect_size(of_x, of_y)
    details = {"splits": float(test.splits), "exact": float(test.exact), "statistic": float(of_x.sum() - of_y.sum())}
    withheld = "" if d is not None else "all terms have the same association, so that the effect size is undefined"
    interval = None if d is None else _interval(of_x, of_y, seed)
    n = len(of_x) + len(of_y)
    return Bias(
        "weat", name, "association", "comparison", d, 0.0, interval, test.p, n, withheld=withheld, details=details
    )


def _interval(of_x: Floats, of_y: Floats, seed: int, samples: int = 2000) -> tuple[float, float] | None:
    if len(of_x) < 3:
        return None  # two terms drawn again are one term twice in half of all cases
    rng = np.random.default_rng(seed)
    x = of_x[rng.integers(0, len(of_x), (samples, len(of_x)))]
    y = of_y[rng.integers(0, len(of_y), (samples, len(of_y)))]
    spread = np.concatenate([x, y], axis=1).std(axis=1, ddof=1)
    held = spread > 1e-12
    if not held.any():
        return None
    low, high = np.percentile((x.mean(axis=1) - y.mean(axis=1))[held] / spread[held], [2.5, 97.5])
    return float(low), float(high)


def weat(
    x: Sequence[str],
    y: Sequence[str],
    a: Sequence[str],
    b: Sequence[str],
    *,
    encode: Encode,
    max_perm: int = 20_000,
    seed: int = 0,
    name: str = "",
) -> Bias:
    """WEAT on words.

    Args:
        x, y, a, b: the sets; as many in X as in Y, no term on both sides.
        encode: words -> (n, dimension): `SentenceTransformer.encode`, an embedding table, a `HiddenStateEncoder`.

    Raises:
        ValueError: unequal or overlapping sets, or vectors that cannot be compared.
    """
    contrast = Contrast(name, tuple(x), tuple(y), tuple(a), tuple(b))
    if len(x) != len(y):
        raise ValueError(f"the permutation test needs as many terms in X as in Y, got {len(x)} and {len(y)}")
    vectors = _encoded(contrast, encode)
    return weat_vectors(*vectors, max_perm=max_perm, seed=seed, name=name)


def seat(
    x: Sequence[str],
    y: Sequence[str],
    a: Sequence[str],
    b: Sequence[str],
    *,
    encode: Encode,
    templates: Sequence[str] = TEMPLATES,
    max_perm: int = 20_000,
    seed: int = 0,
    name: str = "",
) -> Bias:
    """SEAT: WEAT on the encodings of sentences.

    The sentences of a term are averaged first, so that a term counts once: with every sentence as a term of its own,
    four templates would pass for four times as many people.

    Args:
        templates: sentences with one `{}` for the term.

    Raises:
        ValueError: as `weat`, or a template without its `{}`.
    """
    if not templates or any(t.count("{}") != 1 for t in templates):
        raise ValueError("every template needs one {} where the term goes")

    def of_sentences(terms: list[str]) -> Floats:
        sentences = [t.replace("{}", term) for term in terms for t in templates]
        encoded = np.asarray(encode(sentences), dtype=np.float64)
        if encoded.ndim != 2 or len(encoded) != len(sentences):
            raise ValueError(f"encode must give one vector for each of {len(sentences)} sentences, got {encoded.shape}")
        mean: Floats = encoded.reshape(len(terms), len(templates), -1).mean(axis=1)
        return mean

    found = weat(x, y, a, b, encode=of_sentences, max_perm=max_perm, seed=seed, name=name)
    return replace(found, measure="seat")


def ceat(contrast: Contrast, contexts: Mapping[str, ArrayLike], *, samples: int = 1000, seed: int = 0) -> Bias:
    """CEAT: the effect over random contexts, as a random-effects mean.

    Each sample takes one context a term, giving d_i; its variance is that of Cohen's d, (1/n_x + 1/n_y) + d_i² / (2(n_x
    + n_y)) (our choice); the between-samples variance is DerSimonian and Laird's. Samples share their terms, so that p
    speaks of the contexts of these terms and not of other terms.

    Args:
        contrast: the sets.
        contexts: term -> (contexts of that term, dimension).
        samples: how often contexts are drawn.

    Raises:
        ValueError: a term without contexts.
    """
    sets = (contrast.x, contrast.y, contrast.a, contrast.b)
    if missing := [t for terms in sets for t in terms if t not in contexts]:
        raise ValueError(f"{len(missing)} terms have no contexts, for instance {missing[0]!r}")
    held = {t: np.atleast_2d(np.asarray(contexts[t], dtype=np.float64)) for terms in sets for t in terms}
    rng = np.random.default_rng(seed)
    effects = []
    for _ in range(samples):
        x, y, a, b = (np.stack([held[t][rng.integers(len(held[t]))] for t in terms]) for terms in sets)
        d = effect_size(associations(x, a, b), associations(y, a, b))
        if d is not None:
            effects.append(d)
    if len(effects) < 2:
        reason = "no sample of contexts had an effect size"
        return Bias("ceat", contrast.name, "association", "comparison", None, 0.0, withheld=reason, n=len(effects))
    found = np.asarray(effects)
    n_x, n_y = len(contrast.x), len(contrast.y)
    mean, error, between = random_effects(found, 1 / n_x + 1 / n_y + found**2 / (2 * (n_x + n_y)))
    p = float(2 * stats.norm.sf(abs(mean) / error))
    interval = (mean - 1.96 * error, mean + 1.96 * error)
    details = {"between_variance": between}
    return Bias("ceat", contrast.name, "association", "comparison", mean, 0.0, interval, p, len(found), details=details)


def random_effects(effects: ArrayLike, variances: ArrayLike) -> tuple[float, float, float]:
    """Random-effects mean Σ d_i/(V_i+τ²) / Σ 1/(V_i+τ²), its standard error, and τ² by DerSimonian and Laird."""
    d, v = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    weights = 1 / v
    fixed = (weights * d).sum() / weights.sum()
    heterogeneity = (weights * (d - fixed) ** 2).sum()
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    between = max(0.0, (heterogeneity - (len(d) - 1)) / scale) if scale > 0 else 0.0
    weights = 1 / (v + between)
    return float((weights * d).sum() / weights.sum()), sqrt(1 / weights.sum()), float(between)


def _encoded(contrast: Contrast, encode: Encode) -> tuple[Floats, Floats, Floats, Floats]:
    sets = (contrast.x, contrast.y, contrast.a, contrast.b)
    words = [term for terms in sets for term in terms]
    vectors = np.asarray(encode(words), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise ValueError(
            f"encode must give one vector for each of {len(words)} words, got an array of shape {vectors.shape}"
        )
    ends = np.cumsum([len(terms) for terms in sets])
    first, second, third, fourth = np.split(vectors, ends[:-1])
    return first, second, third, fourth


def _unit(vectors: ArrayLike) -> NDArray[np.float64]:
    held = np.asarray(vectors, dtype=np.float64)
    if held.ndim != 2 or 0 in held.shape:
        raise ValueError(f"vectors must be a table of (terms, dimension), got an array of shape {held.shape}")
    if not np.isfinite(held).all():
        raise ValueError("vectors must be finite, got NaN or infinity")
    norms = np.linalg.norm(held, axis=1, keepdims=True)
    if (norms == 0).any():
        raise ValueError(f"the vector of term {int(np.argmin(norms[:, 0]))} is zero; its cosine is undefined")
    unit: NDArray[np.float64] = held / norms
    return unit
