"""The statistics behind verdicts: worked examples, identities with SciPy, and worlds where the truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from benchmarks import verdicts as worlds
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tameshi.bench.statistics import (
    Means,
    Table,
    at_least,
    coefficient,
    correlated,
    detectable,
    holm,
    improvement,
    improvement_interval,
    iqm,
    iqm_interval,
    mcnemar,
    mean_interval,
    newcombe,
    paired_rates,
    power,
    rate,
    required,
    sign_flip,
    trend,
    trends,
    wilson,
)
from tameshi.bench.statistics.ranks import _weighted

calm = settings(deadline=None, derandomize=True, max_examples=50)
RNG = np.random.default_rng(0)


# Means


def test_few_units_give_students_interval_and_p():
    values = np.array([0.3, 0.9, -0.2, 0.7, 0.5])
    found, known = mean_interval(values), stats.ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(known.confidence_interval(), abs=1e-12)
    assert found.p == pytest.approx(known.pvalue, abs=1e-12)


def test_a_difference_of_two_columns_is_a_paired_t_test():
    a, b = RNG.normal(size=(2, 8))
    known = stats.ttest_rel(a, b)
    found = Means([a, b]).contrast([1, -1])
    assert found.p == pytest.approx(known.pvalue, abs=1e-12)
    assert found.low == pytest.approx(known.confidence_interval().low, abs=1e-12)


def test_the_bootstrap_moves_the_end_where_the_tail_is_long():
    values = RNG.lognormal(0, 1, 30)
    found, known = mean_interval(values), stats.ttest_1samp(values, 0).confidence_interval()
    assert found.low == pytest.approx(known.low)
    assert found.high > known.high + 0.05


def test_measuring_an_item_twice_does_not_make_two_items():
    values = RNG.normal(0.2, 1, 25)
    once = mean_interval(values)
    twice = mean_interval(np.repeat(values, 2), clusters=np.repeat(np.arange(25), 2).tolist())
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    assert twice.units == 25


def test_groups_of_one_size_are_a_t_test_of_their_means():
    values = RNG.normal(size=(6, 4)) + RNG.normal(size=(6, 1))
    found = mean_interval(values.ravel(), clusters=np.repeat(list("abcdef"), 4).tolist())
    assert found.p == pytest.approx(stats.ttest_1samp(values.mean(axis=1), 0).pvalue)


def test_seeds_that_differ_decide_by_a_t_test_of_their_means():
    values = RNG.normal(size=(4, 30)) + np.array([[-6.0], [1.0], [4.0], [9.0]])
    items = [f"{s}-{i}" for s in range(4) for i in range(30)]  # new items under every seed
    found = Means(values.ravel(), clusters=items, seeds=np.repeat(np.arange(4), 30).tolist()).contrast([1.0])
    assert found.by_seeds
    assert found.units == 4
    assert found.p == pytest.approx(stats.ttest_1samp(values.mean(axis=1), 0).pvalue)


def test_seeds_that_do_not_differ_leave_it_to_the_items():
    values = RNG.normal(size=(3, 20))
    values -= values.mean(axis=1, keepdims=True) - 0.4
    items = list(range(60))
    found = Means(values.ravel(), clusters=items, seeds=np.repeat(np.arange(3), 20).tolist()).contrast([1.0])
    assert not found.by_seeds
    assert found == mean_interval(values.ravel(), clusters=items)


def test_items_that_come_back_under_every_seed_stay_as_few_as_they_are():
    item = RNG.normal(size=20)
    values = np.tile(item, 50) + 0.01 * RNG.normal(size=1000)
    found = Means(values, clusters=list(range(20)) * 50, seeds=np.repeat(np.arange(50), 20).tolist()).contrast([1.0])
    assert found.error == pytest.approx(item.std(ddof=1) / math.sqrt(20), rel=0.01)


def test_seeds_that_repeat_each_other_to_the_last_digit_count_once():
    item = RNG.normal(0.5, 1, 20)
    found = Means(np.tile(item, 3), clusters=list(range(20)) * 3, seeds=np.repeat([0, 1, 2], 20).tolist()).contrast(
        [1.0]
    )
    alone = mean_interval(item)
    assert not found.by_seeds
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_a_ratio_has_fiellers_interval():
    over, under = RNG.lognormal(0, 0.3, (2, 8))
    ratio, interval = Means([over, under]).ratio([1, 0], [0, 1])
    assert ratio == pytest.approx(over.mean() / under.mean())
    s = np.cov(over, under) / 8 * stats.t.ppf(0.975, 7) ** 2
    a, b, c = under.mean() ** 2 - s[1, 1], over.mean() * under.mean() - s[0, 1], over.mean() ** 2 - s[0, 0]
    root = math.sqrt(b * b - a * c)
    assert interval == pytest.approx(((b - root) / a, (b + root) / a), rel=1e-6)


def test_a_ratio_to_what_may_be_zero_has_no_interval():
    assert Means([RNG.normal(1, 1, 30), RNG.normal(0, 1, 30)]).ratio([1, 0], [0, 1])[1] is None
    assert math.isnan(Means([[1.0, 2.0], [1.0, -1.0]]).ratio([1, 0], [0, 1])[0])


@calm
@given(st.integers(3, 40), st.floats(0.01, 100), st.integers(0, 1000))
def test_the_unit_of_measurement_does_not_change_p(n, unit, seed):
    values = np.random.default_rng(seed).normal(0.3, 1, n)
    found, scaled = mean_interval(values), mean_interval(unit * values)
    assert scaled.p == pytest.approx(found.p, rel=1e-6)
    assert scaled.low == pytest.approx(unit * found.low, rel=1e-6)


@calm
@given(st.integers(3, 40), st.integers(0, 1000))
def test_turning_the_sign_turns_the_interval(n, seed):
    values = np.random.default_rng(seed).normal(0.3, 1, n)
    found, turned = mean_interval(values), mean_interval(-values)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
    assert turned.above == pytest.approx(found.below, abs=1e-3)  # ties among resamples count on both sides


def test_units_that_are_all_on_the_bar_refute():
    found = mean_interval([0.0] * 7)
    assert found.refuted
    assert not found.shown
    assert (found.low, found.high) == (0, 0)


@pytest.mark.parametrize(("units", "shown"), [(2, False), (5, False), (6, True)])
def test_units_that_agree_to_the_last_digit_show_something_only_if_they_are_six(units, shown):
    found = mean_interval([0.25] * units)
    assert found.above == 0.5**units
    assert found.shown is shown


def test_three_that_differ_among_many_ties_can_lie_on_one_side_by_chance():
    found = mean_interval([1.0] * 3 + [0.0] * 200)
    assert found.above >= 1 / 8
    assert not found.shown


@pytest.mark.parametrize("values", [[], [1.0]])
def test_less_than_two_units_say_nothing(values):
    found = mean_interval(values)
    assert not found.shown
    assert not found.refuted
    assert found.p == 1


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, math.nan])


def test_a_cluster_for_every_unit_is_asked_for():
    with pytest.raises(ValueError, match="3 units need a cluster and a seed each, got 2 clusters"):
        mean_interval([1.0, 2.0, 3.0], clusters=["a", "b"])


# Rates


def test_newcombes_interval_is_the_published_one():
    # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables, chapter 8 (Cavo et al. 2012)
    assert newcombe(Table(59, 6, 16, 80)) == pytest.approx((-0.1186, -0.0046), abs=5e-5)


def test_newcombe_is_wide_where_nothing_differs():
    low, high = newcombe(Table(40, 0, 0, 24))
    assert low == pytest.approx(-high)
    assert 0.01 < high < 0.2


@pytest.mark.parametrize(("first", "second"), [(6, 16), (0, 5), (12, 12), (400, 300)])
def test_mcnemar_is_scipys_exact_binomial(first, second):
    known = stats.binomtest(first, first + second, 0.5).pvalue
    table = Table(50, first, second, 60)
    assert mcnemar(table) == pytest.approx(known, abs=1e-12)
    assert paired_rates(table).p == pytest.approx(known, abs=1e-12)


def test_paired_rates_are_counted_from_the_items():
    assert Table.of([1, 1, 0, 0, 1], [1, 0, 1, 0, 1]) == Table(2, 1, 1, 1)


@pytest.mark.parametrize("bar", [-0.2, -0.1186212, 0.05])
def test_the_p_against_a_bar_is_the_level_at_which_newcombe_reaches_it(bar):
    table = Table(59, 6, 16, 80)
    found = paired_rates(table, bar)
    assert min(abs(end - bar) for end in newcombe(table, 1 - found.p)) < 1e-6


def test_wilsons_interval_is_the_textbooks():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_a_rate_against_a_bar_has_exact_tails():
    found = rate(9, 10, 0.5)
    assert found.above == pytest.approx(11 / 1024)
    assert found.estimate == pytest.approx(0.4)


def test_no_items_give_no_rate():
    assert rate(0, 0, 0.5).p == 1
    assert paired_rates(Table(0, 0, 0, 0)).p == 1


# Ranks


def test_spearman_is_scipys_and_zero_where_nothing_varies():
    x, y = RNG.normal(size=(2, 30))
    assert coefficient(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert coefficient(x, np.ones(30)) == 0.0
    assert correlated(x, y).estimate == pytest.approx(stats.spearmanr(x, y).statistic)


def test_drawing_an_item_twice_is_having_it_twice():
    x, y = np.round(RNG.normal(size=(2, 40)))
    counts = RNG.multinomial(40, np.full(40, 1 / 40), size=5)
    repeated = [stats.spearmanr(np.repeat(x, c), np.repeat(y, c)).statistic for c in counts]
    assert _weighted(x, y, counts.T.astype(np.float32)) == pytest.approx(repeated, abs=1e-5)


def test_a_perfect_correlation_of_five_items_is_not_certainty():
    found = correlated(range(5), range(5), 0.5)
    assert not found.shown
    assert correlated(range(30), range(30), 0.5).shown


def test_ranks_are_taken_within_each_seed():
    x = np.concatenate([np.arange(20.0), np.arange(20.0) + 100])
    y = np.concatenate([np.arange(20.0), np.arange(20.0) - 100])
    seeds = [0] * 20 + [1] * 20
    assert correlated(x, y, seeds=seeds, clusters=list(range(20)) * 2).estimate == pytest.approx(1)
    assert correlated(x, y).estimate < 0


def test_seeds_whose_correlations_differ_decide():
    x = np.tile(np.arange(40.0), 3)
    y = np.concatenate([np.arange(40.0), RNG.normal(size=40), -np.arange(40.0)])
    found = correlated(x, y, seeds=np.repeat([0, 1, 2], 40).tolist(), clusters=list(range(40)) * 3)
    assert found.by_seeds
    assert found.units == 3


def test_four_items_have_no_correlation_worth_an_interval():
    assert correlated(range(4), range(4)).p == 1


def test_pearsons_interval_is_fishers():
    x = RNG.normal(size=80)
    y = x + RNG.normal(size=80)
    found, by_scipy = correlated(x, y, 0.5, ranked=False), stats.pearsonr(x, y)
    assert found.estimate == pytest.approx(by_scipy.statistic - 0.5)
    interval = by_scipy.confidence_interval()
    assert found.low <= interval.low - 0.5 + 1e-9  # moved out where the bootstrap's lies further
    assert found.high >= interval.high - 0.5 - 1e-9
    assert found.high - found.low < 1.3 * (interval.high - interval.low)
    counts = RNG.multinomial(80, np.full(80, 1 / 80), size=5)
    repeated = [stats.pearsonr(np.repeat(x, c), np.repeat(y, c)).statistic for c in counts]
    assert _weighted(x, y, counts.T.astype(np.float32), ranked=False) == pytest.approx(repeated, abs=1e-5)
    bent = correlated(range(1, 9), np.exp(np.arange(1, 9)), 0.97, ranked=False)
    assert bent.estimate < 0 < correlated(range(1, 9), np.exp(np.arange(1, 9)), 0.97).estimate


def test_trends_are_rank_correlations_with_the_levels():
    assert trends([[1, 2, 3], [3, 2, 1], [5, 5, 5], [1, 3, 2]], [10, 20, 40]) == pytest.approx([1, -1, 0, 0.5])


def test_perfect_order_in_every_unit_has_pages_p():
    table = np.tile(np.arange(4.0), (3, 1))
    found = trend(Means([trends(table, range(4))]), 0.0, 4)
    assert found.above == pytest.approx(stats.page_trend_test(table, method="exact").pvalue)
    assert found.shown


def test_perfect_order_over_two_levels_is_a_coin_that_fell_right():
    found = trend(Means([[1.0] * 4]), 0.5, 2)
    assert found.above == pytest.approx(0.75**4)  # units rise with probability 3/4 where the mean is 0.5
    assert not found.shown


# Families


def test_holm_worked_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({}) == {}


@calm
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_p_itself_and_bonferroni(values):
    p = {str(i): v for i, v in enumerate(values)}
    for name, adjusted in holm(p).items():
        assert p[name] <= adjusted <= min(1, len(p) * p[name]) + 1e-15


def test_parts_together_all_any_and_some():
    assert at_least(3, [0.01, 0.2, 0.03]) == 0.2
    assert at_least(1, [0.01, 0.2, 0.03]) == pytest.approx(0.03)
    assert at_least(2, [0.01, 0.2, 0.03]) == pytest.approx(0.06)
    with pytest.raises(ValueError, match="between 1 and 2 can be needed, got 3"):
        at_least(3, [0.1, 0.2])


# Seeds


def test_the_interquartile_mean_drops_the_outer_quarters():
    assert iqm([0, 1, 2, 3, 4, 5, 6, 100]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm([[0, 1], [2, 3], [4, 5], [6, 100]]) == pytest.approx(3.5)


def test_the_interval_of_the_interquartile_mean_keeps_tasks_apart():
    scores = np.stack([np.zeros(10), np.full(10, 100.0)], axis=1)  # tasks differ, seeds do not
    assert iqm_interval(scores) == pytest.approx((50, 50))


def test_the_probability_of_improvement_counts_pairs():
    x, y = [1, 2, 3], [2, 0, 0, 5]
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(x, y)]
    assert improvement(x, y) == pytest.approx(sum(pairs) / 12)
    assert improvement(x, y) + improvement(y, x) == pytest.approx(1)


def test_the_probability_of_improvement_is_its_mean_over_tasks():
    x, y = np.array([[1.0, 0], [2, 0]]), np.array([[0.0, 1], [0, 1]])
    assert improvement(x, y) == pytest.approx(0.5)
    low, high = improvement_interval(x, y)
    assert low <= 0.5 <= high


def test_both_sides_need_the_same_tasks():
    with pytest.raises(ValueError, match="same tasks, got 2 and 1"):
        improvement([[1, 2]], [[1]])
    with pytest.raises(ValueError, match="not empty"):
        improvement([], [1])


# Signs


def test_flipping_signs_is_exact_for_few_units():
    assert sign_flip([1.0] * 6) == pytest.approx(2 / 2**6)
    assert sign_flip([0.0] * 6) == 1


def test_flipping_signs_agrees_with_student_where_both_are_right():
    values = RNG.normal(0.4, 1, 40)
    assert sign_flip(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert sign_flip(np.repeat(values, 3), clusters=np.repeat(np.arange(40), 3).tolist()) == sign_flip(values)


# Power


def test_the_number_of_units_is_the_textbooks():
    assert required(0.1, 1.0) == 787  # Cohen's d = 0.1, paired t test, 80 %
    assert required(0.5, 1.0) == 34
    assert required(5.0, 1.0) == 3


def test_what_half_would_miss_is_found_half_the_time():
    for freedom in (1, 4, 63, math.inf):
        assert power(detectable(2.0, freedom), 2.0, freedom) == pytest.approx(0.5, abs=1e-5)


def test_nothing_settles_an_effect_of_zero():
    assert required(0.0, 1.0) is None
    assert required(1e-5, 1.0) is None


@calm
@given(st.floats(0.05, 3), st.floats(0.05, 3))
def test_more_units_are_needed_the_smaller_the_effect(one, other):
    small, large = sorted([one, other])
    assert (required(small, 1.0) or 0) >= (required(large, 1.0) or 0)


# Worlds where the truth is known: a fast version of benchmarks/verdicts.py


@pytest.mark.parametrize("world", list(worlds.nulls()), ids=lambda w: w[0])
def test_a_claim_that_lies_on_its_bar_seldom_holds(world):
    _, rule, maker, setting = world
    held, _ = worlds.false_alarms(rule, maker, setting, runs=100, seed=7)
    assert held <= 0.08  # 0.065, and what a hundred runs leave to chance


@pytest.mark.parametrize("interval", list(worlds.coverage()), ids=lambda i: i[0])
def test_an_interval_of_twenty_units_holds_the_truth(interval):
    name, covers = interval
    rng = np.random.default_rng(8)
    share = np.mean([covers(rng, 20) for _ in range(200)])
    assert share >= (0.86 if "skewed" in name else 0.90)


@pytest.mark.parametrize("rule", list(worlds.powers()), ids=lambda r: r[0])
def test_what_is_said_to_be_missed_half_the_time_is(rule):
    name, leaf, maker, setting = rule
    _, held = worlds.half_missed(leaf, maker, setting, runs=200)
    assert (0.28 if name == "Beats, skewed, 64 items" else 0.4) < held < 0.6  # 200 runs leave seven points to chance
