"""Word association: values by hand, a loop of our own beside the matrix product, and the calibration of p."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tameshi.evaluation.implicit_bias import Contrast, ceat, effect_size, permutation_test, seat, weat, weat_vectors
from tameshi.evaluation.implicit_bias.association import associations, random_effects

X, Y, A, B = [(1.0, 0.0), (0.8, 0.6)], [(0.0, 1.0), (0.6, 0.8)], [(1.0, 0.0)], [(0.0, 1.0)]


def test_the_example_worked_by_hand():
    assert associations(X, A, B).tolist() == pytest.approx([1, 0.2])
    assert associations(Y, A, B).tolist() == pytest.approx([-1, -0.2])
    found = weat_vectors(X, Y, A, B)
    assert found.value == pytest.approx(1.2 / 0.8326664, abs=1e-7)
    assert found.value == pytest.approx(1.4411534, abs=1e-7)
    assert found.p == pytest.approx(1 / 6, abs=1e-12)
    assert found.details["exact"] == 1
    assert found.details["splits"] == 6


def test_p_counts_what_a_loop_over_all_splits_counts():
    rng = np.random.default_rng(3)
    for n in (1, 2, 4, 5):
        x, y = rng.normal(size=n).round(1), rng.normal(size=n).round(1)  # rounded: ties happen
        both = [*x, *y]
        observed = sum(x) - sum(y)
        sums = [2 * sum(both[i] for i in chosen) - sum(both) for chosen in combinations(range(2 * n), n)]
        by_hand = sum(s >= observed - 1e-9 for s in sums) / len(sums)
        assert permutation_test(x, y).p == pytest.approx(by_hand, abs=1e-12)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(2, 5), st.integers(0, 2**32 - 1), st.floats(0.1, 50))
def test_signs_bounds_and_scale(n, attributes, dimension, seed, scale):
    rng = np.random.default_rng(seed)
    x, y, a, b = (rng.normal(size=(m, dimension)) + 0.01 for m in (n, n, attributes, attributes))
    found = weat_vectors(x, y, a, b).value
    assert found is not None
    assert abs(found) <= 2 * sqrt((2 * n - 1) / (2 * n)) + 1e-9
    assert weat_vectors(y, x, a, b).value == pytest.approx(-found)
    assert weat_vectors(x, y, b, a).value == pytest.approx(-found)
    assert weat_vectors(y, x, b, a).value == pytest.approx(found)
    assert weat_vectors(x * scale, y * scale, a, b).value == pytest.approx(found)


def test_the_bound_is_reached_by_two_points():
    assert effect_size([1, 1, 1], [-1, -1, -1]) == pytest.approx(2 * sqrt(5 / 6))


def test_p_is_uniform_where_the_groups_are_exchangeable():
    p = [permutation_test(*np.random.default_rng(s).normal(size=(2, 6)), seed=s).p for s in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_sampled_p_comes_near_the_exact_one_and_is_never_zero():
    rng = np.random.default_rng(5)
    x, y = rng.normal(0.6, 1, size=7), rng.normal(size=7)
    exact, sampled = permutation_test(x, y), permutation_test(x, y, max_perm=3300, seed=2)
    assert exact.exact
    assert not sampled.exact
    assert sampled.p == pytest.approx(exact.p, abs=0.025)  # three standard errors
    assert permutation_test(np.arange(10.0) + 100, np.arange(10.0), max_perm=50).p >= 1 / 51


def test_eight_terms_a_group_have_12870_splits():
    assert permutation_test(np.arange(8.0), np.arange(8.0) + 1).splits == 12_870


def test_equal_associations_withhold_the_effect():
    found = weat_vectors([(1.0, 0.0)] * 3, [(1.0, 0.0)] * 3, A, B)
    assert found.value is None
    assert "undefined" in found.withheld
    assert found.p == 1


def test_seat_counts_a_term_once_however_many_templates_it_has():
    rng = np.random.default_rng(0)
    words = {w: rng.normal(size=4) for w in "abcdefghijkl"}

    def encode(sentences):
        return np.stack([words[s[0]] for s in sentences])

    sets = (("a", "b", "c"), ("d", "e", "f"), ("g", "h", "i"), ("j", "k", "l"))
    plain = weat(*sets, encode=encode)
    found = seat(*sets, encode=encode, templates=["{}", "{} again", "{} once more"])
    assert found.measure == "seat"
    assert (found.value, found.p) == (pytest.approx(plain.value), plain.p)


def test_random_effects_without_heterogeneity_is_the_plain_weighted_mean():
    mean, error, between = random_effects([0.5, 0.5, 0.5], [0.1, 0.2, 0.4])
    assert (mean, between) == (pytest.approx(0.5), 0)
    assert error == pytest.approx(sqrt(1 / (10 + 5 + 2.5)))


def test_random_effects_by_hand():
    # w = 1, 1; Q = 2, C = 1, tau² = 1: the weights become 1/2
    mean, error, between = random_effects([0.0, 2.0], [1.0, 1.0])
    assert (mean, between, error) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))


def test_ceat_finds_a_planted_association_and_none_where_there_is_none():
    rng = np.random.default_rng(0)
    contrast = Contrast("planted", ("x1", "x2", "x3"), ("y1", "y2", "y3"), ("a1", "a2"), ("b1", "b2"))
    centre = {"x": (1.0, 0.2), "y": (0.2, 1.0), "a": (1.0, 0.0), "b": (0.0, 1.0)}
    terms = [*contrast.x, *contrast.y, *contrast.a, *contrast.b]
    planted = {t: np.array(centre[t[0]]) + rng.normal(0, 0.1, (20, 2)) for t in terms}
    found = ceat(contrast, planted, samples=200)
    assert found.value > 1
    assert found.interval[0] > 0
    same = {t: np.array((0.6, 0.6)) + rng.normal(0, 0.1, (20, 2)) for t in terms}
    assert abs(ceat(contrast, same, samples=200).value) < 0.3
    with pytest.raises(ValueError, match="no contexts"):
        ceat(contrast, {"x1": np.ones((1, 2))})


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ((("a", "b"), ("c",), ("d",), ("e",)), "as many terms in X as in Y"),
        ((("a",), ("a",), ("d",), ("e",)), "in both x and y"),
        ((("a",), ("b",), ("d",), ("d",)), "in both a and b"),
        (((), ("b",), ("d",), ("e",)), "no terms in x"),
        ((("a", "A"), ("b", "c"), ("d",), ("e",)), "twice in x"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(sets, message):
    with pytest.raises(ValueError, match=message):
        weat(*sets, encode=lambda words: np.ones((len(words), 2)))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([(0.0, 0.0)], "zero"),
        ([(np.nan, 1.0)], "finite"),
        ([(np.inf, 1.0)], "finite"),
        ([(1.0, 0.0, 0.0)], "one dimension"),
        ([], "table"),
    ],
)
def test_vectors_that_have_no_cosine_are_refused(vectors, message):
    with pytest.raises(ValueError, match=message):
        weat_vectors(vectors, vectors, A, B)


def test_an_encoder_that_drops_words_is_refused():
    with pytest.raises(ValueError, match="one vector for each of 4 words"):
        weat(["a"], ["b"], ["c"], ["d"], encode=lambda words: np.ones((2, 3)))
    with pytest.raises(ValueError, match="needs one"):
        seat(["a"], ["b"], ["c"], ["d"], encode=lambda words: np.ones((4, 3)), templates=["no place"])
