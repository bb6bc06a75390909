"""The statistics that all measures share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from tameshi.evaluation.implicit_bias import Bias, holm, jensen_shannon
from tameshi.evaluation.implicit_bias.measured import bootstrap, t_against, wilson


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_lowers(p):
    adjusted = holm(p)
    assert all(a >= b - 1e-12 for a, b in zip(adjusted, p, strict=True))
    assert max(adjusted) <= 1
    order = np.argsort(p, kind="stable")
    assert list(np.array(adjusted)[order]) == sorted(adjusted)


def test_jensen_shannon_agrees_with_scipy():
    first, second = {"yes": 8, "no": 1, "none": 1}, {"yes": 2, "no": 6, "other": 2}
    answers = sorted({*first, *second})
    other = jensenshannon([first.get(a, 0) for a in answers], [second.get(a, 0) for a in answers], base=2)
    assert jensen_shannon(first, second) == pytest.approx(other)
    assert jensen_shannon(first, first) == pytest.approx(0, abs=1e-7)
    assert jensen_shannon({"yes": 1}, {"no": 1}) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least one answer"):
        jensen_shannon({}, {"no": 1})


def test_wilson_by_hand():
    low, high = wilson(60, 71)
    z, n, share = 1.959964, 71, 60 / 71
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert (low, high) == (pytest.approx(centre - half, abs=1e-6), pytest.approx(centre + half, abs=1e-6))
    assert wilson(0, 0) is None


def test_intervals_of_names_are_wider_than_those_of_their_many_texts():
    rng = np.random.default_rng(0)
    names = [list(rng.normal(m, 0.1, 50)) for m in rng.normal(0, 1, 8)]
    by_name = bootstrap(names)
    by_text = bootstrap([[v] for own in names for v in own])
    assert by_name[1] - by_name[0] > 3 * (by_text[1] - by_text[0])
    assert bootstrap([[1.0, 2.0]]) is None


def test_a_t_test_of_equal_values_says_so_without_dividing_by_zero():
    assert t_against([1.0, 1.0], 0.0) == 0
    assert t_against([0.0, 0.0], 0.0) == 1
    assert t_against([0.0], 0.0) is None


def test_a_measure_has_a_value_or_a_reason():
    with pytest.raises(ValueError, match="either a value or the reason"):
        Bias("iat", "c", "association", "single value", None, 0.0)
    with pytest.raises(ValueError, match="either a value or the reason"):
        Bias("iat", "c", "association", "single value", 1.0, 0.0, withheld="why")
    with pytest.raises(ValueError, match="must be finite"):
        Bias("iat", "c", "association", "single value", math.nan, 0.0)
