"""Verdicts: every kind of rule, every order of questions, every edge that rows can have."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.bench.judge import judge
from tameshi.bench.verdicts import OUTCOMES, Verdict, from_json, to_json
from tameshi.nouns import (
    AllOf,
    Beats,
    Correlates,
    Difference,
    Items,
    Missing,
    Orders,
    OutOfReach,
    Ratio,
    Reaches,
    Row,
    Rows,
    Rule,
    Within,
)

BEATS = Beats("C1", "new", "old", "loss", "lower")


def row(
    method: str, values: object, seed: int = 0, *, metric: str = "loss", check: str = "c", block: int = 0, **at
) -> Row:
    if not isinstance(values, Items | Missing | float):
        values = Items(values)
    return Row(check, method, at, seed, block, {metric: values})


def normal(mean: float, n: int, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng([seed, n]).normal(mean, spread, n)


def one(rule: Rule, rows: Iterable[Row]) -> Verdict:
    return judge([rule], Rows(rows))[rule.claim]


OLD = normal(5, 40, seed=1)
NEW = OLD - normal(1, 40, seed=2)
CLEAR = (row("new", NEW), row("old", OLD))


# Each kind of rule, on both sides of its bar


@pytest.mark.parametrize(
    ("rule", "figure", "outcome"),
    [
        (BEATS, np.mean(NEW - OLD), "holds"),
        (replace(BEATS, better="higher"), np.mean(NEW - OLD), "fails"),
        (replace(BEATS, by=Difference(0.3)), np.mean(NEW - OLD), "holds"),
        (replace(BEATS, by=Difference(1.1)), np.mean(NEW - OLD), "inconclusive"),
        (replace(BEATS, by=Difference(2.0)), np.mean(NEW - OLD), "fails"),
        (replace(BEATS, by=Ratio(0.9)), NEW.mean() / OLD.mean(), "holds"),
        (replace(BEATS, by=Ratio(0.5)), NEW.mean() / OLD.mean(), "fails"),
        (Reaches("C1", "new", 5.0, "loss", "lower"), NEW.mean(), "holds"),
        (Reaches("C1", "new", 3.0, "loss", "lower"), NEW.mean(), "fails"),
        (Reaches("C1", "new", "old", "loss", "higher", 0.7), NEW.mean() / OLD.mean(), "holds"),
        (Reaches("C1", "new", "old", "loss", "higher", 0.95), NEW.mean() / OLD.mean(), "fails"),
        (Within("C1", "old", "new", "loss", "lower", 2.0), np.mean(OLD - NEW), "holds"),
        (Within("C1", "old", "new", "loss", "lower", 0.2), np.mean(OLD - NEW), "fails"),
        (Within("C1", "old", "new", "loss", "higher", 0.0), np.mean(OLD - NEW), "holds"),
    ],
    ids=str,
)
def test_a_rule_holds_on_one_side_of_its_bar_and_fails_on_the_other(rule, figure, outcome):
    found = one(rule, CLEAR)
    assert found.outcome == outcome
    assert found.figure == pytest.approx(figure)
    low, high = found.interval
    assert low < found.figure < high
    assert (found.n, found.unit) == (40, "items")


def test_a_ratio_can_be_of_gaps_to_a_third_method():
    full = normal(3, 40, seed=5)
    rows = [
        row("new", full + normal(0.3, 40, spread=0.05)),
        row("old", full + normal(1, 40, 4, 0.1)),
        row("full", full),
    ]
    found = one(replace(BEATS, by=Ratio(0.65), gap_to="full"), rows)
    assert found.outcome == "holds"
    assert 0.2 < found.interval[0] < 0.3 < found.interval[1] < 0.4
    assert found.reads["en"] == "ratio of the loss gap to full, new to old"
    assert one(replace(BEATS, by=Ratio(0.25), gap_to="full"), rows).outcome == "fails"


def test_below_zero_a_smaller_multiple_is_higher():
    full = normal(9, 40, seed=5)
    rows = [
        row("new", full - normal(0.2, 40, spread=0.05)),
        row("old", full - normal(1, 40, 4, 0.1)),
        row("full", full),
    ]
    found = one(replace(BEATS, better="higher", by=Ratio(0.65), gap_to="full"), rows)
    assert found.outcome == "holds"
    assert "less than 0.650" in found.why["en"]


@pytest.mark.parametrize(("direction", "outcome"), [("rises", "holds"), ("falls", "fails")])
def test_an_order_is_read_within_each_item(direction, outcome):
    level = normal(0, 30, seed=3, spread=10)  # items differ far more than the trend
    rows = [row("new", level + k + 0.3 * normal(0, 30, seed=k), cap=k) for k in range(4)]
    found = one(Orders("C1", "new", "loss", "cap", direction), rows)
    assert found.outcome == outcome
    assert found.figure > 0.8


def test_an_order_over_single_numbers_is_read_within_each_seed():
    rows = [row("new", float(k + 0.1 * s), seed=s, cap=k) for k in range(5) for s in range(3)]
    found = one(Orders("C1", "new", "loss", "cap", "rises"), rows)
    assert (found.outcome, found.n, found.unit) == ("holds", 3, "seeds")


def test_one_level_has_no_order():
    found = one(Orders("C1", "new", "loss", "cap", "rises"), [row("new", NEW, cap=1)])
    assert found.outcome == "inconclusive"
    assert "two values of cap" in found.why["en"]


@pytest.mark.parametrize(("at_least", "outcome"), [(0.3, "holds"), (0.99, "fails")])
def test_two_metrics_agree_in_rank(at_least, outcome):
    values = {"loss": Items(NEW), "score": Items(NEW + 0.5 * normal(0, 40, seed=9))}
    found = one(Correlates("C1", "new", "loss", "score", at_least), [Row("c", "new", {}, 0, 0, values)])
    assert found.outcome == outcome
    assert found.power


def test_a_correlation_with_seeds_as_units_has_one_coefficient_per_seed():
    rows = [
        Row("c", "new", {}, s, 0, {"loss": Items(normal(0, 30, s)), "score": Items(normal(0, 30, s) * 2)})
        for s in range(7)
    ]
    found = one(Correlates("C1", "new", "loss", "score", 0.5, unit="seed"), rows)
    assert (found.n, found.unit, found.figure) == (7, "seeds", pytest.approx(1))
    assert found.outcome == "holds"


def test_yes_and_no_are_judged_by_newcombe_and_mcnemar():
    new, old = [1.0] * 30 + [0.0] * 10, [1.0] * 18 + [0.0] * 22
    found = one(Beats("C1", "new", "old", "loss", "higher"), [row("new", new), row("old", old)])
    assert found.outcome == "holds"
    assert found.p == pytest.approx(2 / 2**12)
    assert "+30.0 points" in found.why["en"]
    assert "+30.0 ポイント" in found.why["ja"]


def test_a_rate_is_held_against_a_number():
    rows = [row("new", [1.0] * 95 + [0.0] * 5)]
    assert one(Reaches("C1", "new", 0.85, "loss", "higher"), rows).outcome == "holds"
    assert one(Reaches("C1", "new", 0.2, "loss", "lower"), rows).outcome == "fails"
    found = one(Reaches("C1", "new", 0.95, "loss", "higher"), rows)
    assert found.outcome == "inconclusive"
    assert "95.0 %" in found.why["en"]


def test_a_rate_of_nothing_is_told_as_nothing():
    found = one(Reaches("C1", "new", 0.01, "loss", "lower"), [row("new", [0.0] * 500)])
    assert found.why["en"].startswith("0 % (95 % interval 0 % to 0.762 %)")


# What is independent


def test_items_of_a_group_are_one():
    groups = [f"d{i // 10}" for i in range(40)]
    rows = [row("new", Items(NEW, groups=groups)), row("old", Items(OLD, groups=groups))]
    assert (one(BEATS, rows).n, one(BEATS, rows).unit) == (4, "groups")


def test_a_unit_of_seeds_takes_one_mean_per_seed():
    rows = [row(m, v + s, seed=s) for s in range(3) for m, v in (("new", NEW + 0.1 * s), ("old", OLD))]
    found = one(replace(BEATS, unit="seed"), rows)
    assert (found.n, found.unit) == (3, "seeds")


def test_seeds_that_differ_are_what_counts():
    shift = (-3.0, 1.0, 4.0)
    rows = [row(m, v, seed=s) for s in range(3) for m, v in (("new", OLD + shift[s]), ("old", OLD + normal(0, 40, s)))]
    found = one(BEATS, rows)
    assert (found.n, found.unit, found.outcome) == (3, "seeds", "inconclusive")
    assert "3 seeds decide" in found.why["en"]


def test_items_over_seeds_are_counted_in_each():
    rows = [row(m, v, seed=s) for s in range(2) for m, v in (("new", NEW + 0.01 * s), ("old", OLD))]
    assert one(BEATS, rows).n in (80, 2)


def test_one_seed_says_that_it_is_one():
    assert "Only seed 0 was run" in one(BEATS, CLEAR).why["en"]
    assert "シードは 0 だけ" in one(BEATS, CLEAR).why["ja"]


def test_a_claim_about_two_seeds_of_three_is_judged_seed_by_seed():
    def rows(*gains: float) -> list[Row]:
        found = []
        for seed, gain in enumerate(gains):
            new = row("new", OLD - gain + normal(0, 40, seed, 0.1), seed)
            found += [replace(new, conditions={"seed": seed}), row("old", OLD, seed)]
        return found

    rule = replace(BEATS, each=("seed",), needed=2)
    assert one(rule, rows(1.0, 1.0, -1.0)).outcome == "holds"
    assert one(rule, rows(1.0, -1.0, -1.0)).outcome == "fails"
    assert one(rule, rows(1.0)).outcome == "inconclusive"
    assert "Only seed" not in one(rule, rows(1.0, 1.0, -1.0)).why["en"]


def test_one_seed_cannot_speak_for_seeds():
    found = one(replace(BEATS, unit="seed"), CLEAR)
    assert (found.outcome, found.n) == ("inconclusive", 1)
    assert "run more seeds" in found.why["en"]


def test_single_numbers_are_units_of_their_seed():
    rows = [row(m, float(v + s / 10), seed=s) for s in range(4) for m, v in (("new", 1.0), ("old", 2.0 + s / 7))]
    found = one(BEATS, rows)
    assert (found.outcome, found.n, found.unit) == ("holds", 4, "seeds")


def test_conditions_that_the_rule_does_not_name_are_averaged_within_an_item():
    rows = [row(m, v + cap, cap=cap) for cap in (1, 2) for m, v in (("new", NEW), ("old", OLD))]
    assert one(BEATS, rows).n == 40
    assert one(BEATS, rows).interval == pytest.approx(one(BEATS, CLEAR).interval)


def test_blocks_put_their_items_side_by_side():
    rows = [
        row(m, v[part], block=b)
        for m, v in (("new", NEW), ("old", OLD))
        for b, part in ((0, slice(25)), (1, slice(25, 40)))
    ]
    assert one(BEATS, rows).interval == pytest.approx(one(BEATS, CLEAR).interval, abs=0.05)
    assert one(BEATS, rows).n == 40


def test_a_reference_without_the_condition_is_compared_everywhere():
    rows = [row("new", NEW, cap=64), row("new", NEW + 0.1, cap=128), row("old", OLD)]
    found = one(replace(BEATS, each=("cap",)), rows)
    assert [part.outcome for part in found.parts] == ["holds", "holds"]


# Order of questions


def test_no_rows_are_inconclusive_and_say_so():
    found = one(BEATS, [row("old", OLD)])
    assert (found.outcome, found.n, found.p) == ("inconclusive", 0, None)
    assert found.why["en"] == "new has no rows with loss."


def test_no_rows_at_all():
    assert one(BEATS, []).outcome == "inconclusive"


def test_an_error_is_named():
    rows = [Row("c", "new", {}, 0, error="RuntimeError: out of memory"), row("old", OLD)]
    found = one(BEATS, rows)
    assert found.outcome == "inconclusive"
    assert "1 row ended in an error: new (seed 0): RuntimeError: out of memory" in found.why["en"]


def test_an_error_of_one_seed_leaves_the_others_to_judge():
    rows = [*CLEAR, Row("c", "new", {}, 1, error="killed"), row("old", OLD, seed=1)]
    found = one(BEATS, rows)
    assert found.outcome == "holds"
    assert "killed" in found.why["en"]


def test_the_other_side_missing_leaves_nothing_to_pair():
    found = one(BEATS, [row("new", NEW)])
    assert found.outcome == "inconclusive"
    assert "new, old" in found.why["en"]


def test_other_items_cannot_be_paired():
    rows = [row("new", Items([1.0, 2.0], ["a", "b"])), row("old", Items([1.0, 2.0], ["c", "d"]))]
    found = one(BEATS, rows)
    assert found.outcome == "inconclusive"
    assert "4 measured on one side only" in found.why["en"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_method_that_gives_nan_fails(value):
    broken = [*NEW[:-1], value]
    found = one(BEATS, [row("new", broken), row("old", OLD)])
    assert found.outcome == "fails"
    assert found.why["en"].startswith("new gave 1 value that is not finite.")


def test_a_baseline_that_gives_nan_shows_nothing():
    found = one(BEATS, [row("new", NEW), row("old", [*OLD[:-1], math.nan])])
    assert found.outcome == "inconclusive"
    assert "old gave" in found.why["en"]


def test_missing_values_are_left_out_in_pairs_and_counted():
    new = [Missing("no answer"), *NEW[1:]]
    old = [*OLD[:-2], Missing("no answer"), Missing("timeout")]
    found = one(BEATS, [row("new", new), row("old", old)])
    assert (found.outcome, found.n) == ("holds", 37)
    assert "3 for a missing value (no answer)" in found.why["en"]


def test_what_is_mostly_missing_is_not_judged():
    new = [Missing("no answer")] * 25 + list(NEW[25:])
    found = one(BEATS, [row("new", new), row("old", OLD)])
    assert found.outcome == "inconclusive"
    assert "25 of 40" in found.why["en"]


def test_zero_items():
    found = one(BEATS, [row("new", []), row("old", [])])
    assert found.outcome == "inconclusive"


def test_all_ties_fail():
    found = one(BEATS, [row("new", OLD), row("old", OLD)])
    assert (found.outcome, found.figure, found.interval, found.p) == ("fails", 0, (0, 0), None)
    assert "every one of 40 items" in found.why["en"]
    assert one(BEATS, [row("new", [1.0] * 9), row("old", [1.0] * 9)]).outcome == "fails"


def test_three_items_that_all_agree_can_be_chance():
    found = one(Beats("C1", "new", "old", "loss", "higher"), [row("new", [2.0] * 3), row("old", [1.0] * 3)])
    assert found.outcome == "inconclusive"
    assert "leaves room for chance (p = 0.25)" in found.why["en"]


def test_a_handful_that_differ_among_many_ties_can_be_chance():
    rows = [row("new", [1.0] * 5 + [0.0] * 35), row("old", [0.0] * 40)]
    found = one(Beats("C1", "new", "old", "loss", "higher"), rows)
    assert found.outcome == "inconclusive"
    assert "Only 5 of 40 items differ" in found.why["en"]


def test_a_row_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match=r'"new", 0, 0.* stands 2 times'):
        judge([BEATS], [*CLEAR, CLEAR[0]])


def test_a_claim_that_is_judged_twice_is_refused():
    with pytest.raises(ValueError, match="claim C1 is judged by 2 rules"):
        judge([BEATS, BEATS], [])


def test_a_metric_of_two_checks_needs_the_check_named():
    rows = [*CLEAR, row("new", NEW, check="d"), row("old", OLD, check="d")]
    with pytest.raises(ValueError, match="loss is measured by c and d; the rule of claim C1 must name one"):
        judge([BEATS], rows)
    assert one(replace(BEATS, check="d"), rows).outcome == "holds"


# Controls


def test_a_control_that_holds_makes_the_measure_blind():
    found = one(replace(BEATS, control=("noise",)), [*CLEAR, row("noise", OLD - normal(2, 40, 3))])
    assert (found.outcome, dict(found.controls)) == ("blind", {"noise": "holds"})
    assert "noise would have held as well" in found.why["en"]


def test_a_control_that_stays_down_lets_the_claim_hold():
    found = one(replace(BEATS, control=("noise",)), [*CLEAR, row("noise", OLD + normal(2, 40, 3))])
    assert (found.outcome, dict(found.controls)) == ("holds", {"noise": "fails"})


def test_a_control_that_was_not_measured_keeps_a_claim_from_holding():
    found = one(replace(BEATS, control=("noise",)), CLEAR)
    assert (found.outcome, dict(found.controls)) == ("inconclusive", {"noise": "not measured"})
    failing = one(replace(BEATS, control=("noise",), better="higher"), CLEAR)
    assert failing.outcome == "fails"


def test_a_broken_method_fails_whatever_its_control_does():
    rows = [row("new", [math.nan] * 40), row("old", OLD), row("noise", OLD - 2 + normal(0, 40))]
    assert one(replace(BEATS, control=("noise",)), rows).outcome == "fails"


def test_a_broken_control_does_not_blind():
    found = one(replace(BEATS, control=("noise",)), [*CLEAR, row("noise", [math.nan] * 40)])
    assert (found.outcome, found.controls["noise"]) == ("holds", "fails")


# Parts


def at_caps(*gains: float) -> list[Row]:
    rows = []
    for cap, gain in enumerate(gains):
        rows += [row("new", OLD - normal(gain, 40, cap + 10), cap=cap), row("old", OLD, cap=cap)]
    return rows


@pytest.mark.parametrize(
    ("gains", "needed", "outcome"),
    [
        ((1, 1, 1), None, "holds"),
        ((1, 1, -1), None, "fails"),
        ((1, 1, 0), None, "inconclusive"),
        ((1, 1, -1), 2, "holds"),
        ((1, -1, -1), 2, "fails"),
        ((1, 0, -1), 2, "inconclusive"),
        ((1, 1, 1), 4, "inconclusive"),
    ],
)
def test_each_condition_is_judged_by_itself_and_so_many_must_hold(gains, needed, outcome):
    found = one(replace(BEATS, each=("cap",), needed=needed), at_caps(*gains))
    assert found.outcome == outcome
    assert [part.outcome for part in found.parts] == [{1: "holds", 0: "inconclusive", -1: "fails"}[g] for g in gains]
    assert found.parts[0].reads["en"] == "cap = 0: loss: new minus old"


def test_the_part_that_decides_speaks_for_the_whole():
    found = one(replace(BEATS, each=("cap",)), at_caps(3, 1, 2))
    assert found.figure == found.parts[1].figure
    assert found.p == pytest.approx(max(part.p for part in found.parts))


def test_conditions_that_come_out_differently_are_named_each():
    differing, alike = (one(replace(BEATS, each=("cap",)), at_caps(*gains)) for gains in ((1, 0), (1, 1)))
    assert "(cap = 0: holds; cap = 1: inconclusive)" in differing.why["en"]
    assert "（cap = 0：成立、cap = 1：判定不能）" in differing.why["ja"]
    assert "cap = 0: holds" not in alike.why["en"]


def test_a_condition_that_was_lost_for_the_method_keeps_the_claim_open():
    rows = [r for r in at_caps(1, 1) if not (r.method == "new" and r.conditions["cap"] == 1)]
    found = one(replace(BEATS, each=("cap",)), rows)
    assert [part.outcome for part in found.parts] == ["holds", "inconclusive"]
    assert found.outcome == "inconclusive"


def test_every_baseline_must_be_beaten():
    rule = replace(BEATS, baseline=("old", "older"))
    assert one(rule, [*CLEAR, row("older", OLD + 1 + normal(0, 40))]).outcome == "holds"
    assert one(rule, [*CLEAR, row("older", OLD - 3 + normal(0, 40))]).outcome == "fails"


def test_a_control_must_hold_everywhere_to_blind():
    rows = [*at_caps(1, 1), row("noise", OLD - normal(2, 40, 3), cap=0), row("noise", OLD + normal(2, 40, 4), cap=1)]
    found = one(replace(BEATS, each=("cap",), control=("noise",)), rows)
    assert (found.outcome, found.controls["noise"]) == ("holds", "fails")


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ("hh", "holds"),
        ("hf", "fails"),
        ("hi", "inconclusive"),
        ("hb", "blind"),
        ("ho", "out of reach here"),
        ("bf", "fails"),
    ],
)
def test_a_claim_of_several_parts_holds_if_all_hold_and_fails_if_one_fails(parts, outcome):
    rows = [*CLEAR, row("noise", OLD - normal(2, 40, 3))]
    kinds = {
        "h": BEATS,
        "f": replace(BEATS, better="higher"),
        "i": replace(BEATS, by=Difference(float(np.mean(OLD - NEW)))),
        "b": replace(BEATS, control=("noise",)),
        "o": OutOfReach("C1", {"en": "no", "ja": "不可"}, "--model"),
    }
    found = one(AllOf("C1", tuple(kinds[p] for p in parts)), rows)
    assert found.outcome == outcome
    assert len(found.parts) == 2


def test_out_of_reach_until_rows_exist():
    rule = OutOfReach("C1", {"en": "Too small.", "ja": "小さすぎる。"}, "--model", then=BEATS)
    assert one(rule, [row("old", OLD)]).outcome == "out of reach here"
    assert one(rule, [row("old", OLD)]).why["ja"] == "小さすぎる。"
    assert one(rule, CLEAR).outcome == "holds"
    assert one(replace(rule, then=AllOf("x", (BEATS,))), CLEAR).claim == "C1"
    assert one(replace(rule, then=None), CLEAR).outcome == "out of reach here"


# Holm


def test_a_claim_that_holds_by_itself_can_drown_among_others():
    old = normal(0, 12, 1)
    new = old - (normal(0, 12, 5) - normal(0, 12, 5).mean() + 0.39)  # p of about 0.02
    rows = [row("new", new), row("old", old)]
    alone = one(BEATS, rows)
    assert alone.outcome == "holds"
    assert 0.01 < alone.p < 0.05
    rules = [replace(BEATS, claim=f"C{i}", by=Difference(0.0 if i == 1 else 0.7)) for i in range(1, 7)]
    found = judge(rules, rows)["C1"]
    assert found.outcome == "inconclusive"
    assert found.p == alone.p
    assert found.p_holm == pytest.approx(6 * alone.p)
    assert "6 claims of this run" in found.why["en"]


def test_claims_without_a_p_are_no_part_of_the_family():
    rules = [
        BEATS,
        replace(BEATS, claim="C2", method="absent"),
        OutOfReach("C3", {"en": "no", "ja": "不可"}, "--model"),
    ]
    found = judge(rules, CLEAR)
    assert found["C1"].p_holm == found["C1"].p
    assert found["C2"].p_holm is None
    assert list(found) == ["C1", "C2", "C3"]


# Power


def test_an_open_claim_says_how_many_items_would_settle_it():
    found = one(replace(BEATS, by=Difference(0.9)), CLEAR)
    assert found.outcome == "inconclusive"
    assert "would be missed half the time" in found.power["en"]
    assert "would settle it four times out of five" in found.power["en"]
    assert "決着する" in found.power["ja"]


def test_what_lies_on_the_bar_is_never_settled():
    found = one(replace(BEATS, by=Difference(float(np.mean(OLD - NEW)))), CLEAR)
    assert "a million would not settle it" in found.power["en"]


# The whole


EVERYTHING: Sequence[Rule] = (
    replace(BEATS, control=("noise",)),
    Beats("C2", "new", ("old", "noise"), "loss", "lower", Ratio(0.9), each=("cap",), needed=1),
    Within("C3", "new", "old", "loss", "lower", 0.2),
    Orders("C4", "new", "loss", "cap", "rises"),
    Correlates("C5", "new", "loss", "other", 0.1),
    Reaches("C6", "new", "old", "loss", "higher", 0.5, unit="seed"),
    AllOf("C7", (BEATS, OutOfReach("C7", {"en": "no", "ja": "不可"}, "--model"))),
    Beats("C8", "new", "old", "right", "higher"),
    replace(BEATS, claim="C9", method="broken"),
)


def many_rows() -> list[Row]:
    rng = np.random.default_rng(4)
    rows = []
    for seed in range(3):
        for cap in (1, 2):
            base = rng.normal(5, 1, 25)
            for method, gain in (("new", 0.7), ("old", 0.0), ("noise", 0.0), ("broken", math.nan)):
                loss = [*(base - gain + rng.normal(0, 1, 25)), Missing("cut")]
                right = [float(x) for x in rng.random(26) < 0.5 + gain / 3]
                values = {"loss": Items(loss), "other": Items([*base, 0.0]), "right": Items(right)}
                rows.append(Row("c", method, {"cap": cap}, seed, values=values))
    return rows


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(chance: random.Random):
    rows = many_rows()
    known = judge(EVERYTHING, rows)
    chance.shuffle(rows)
    assert judge(EVERYTHING, rows) == known


def test_the_same_seed_gives_the_same_verdicts_and_another_hardly_others():
    rows = many_rows()
    known, other = judge(EVERYTHING, rows, seed=0), judge(EVERYTHING, rows, seed=1)
    assert judge(EVERYTHING, rows, seed=0) == known
    for claim, verdict in known.items():
        assert other[claim].outcome == verdict.outcome
        assert other[claim].figure == verdict.figure or math.isnan(verdict.figure)


NUMBERS = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-3, 3), st.sampled_from([math.nan, math.inf, 1e300]))
VALUES = st.one_of(NUMBERS, st.just(Missing("lost")))


@st.composite
def strange_rows(draw: st.DrawFn) -> list[Row]:
    """Rows as no check would write them: holes, ties, NaN, errors, groups, lone numbers, lone items, lost partners."""
    rows = []
    for method in ("new", "old", "noise", "full"):
        for seed in range(draw(st.integers(0, 3))):
            for cap in (1, 2):
                kind = draw(st.sampled_from(["items", "items", "grouped", "number", "error", "absent"]))
                values = draw(st.lists(VALUES, min_size=0, max_size=12))
                groups = [str(i // 3) for i in range(len(values))] if kind == "grouped" else ()
                items = Items(values, groups=groups)
                found = {"loss": items, "score": Items(values[::-1])} if kind != "number" else {"loss": draw(VALUES)}
                if kind == "error":
                    rows.append(Row("c", method, {"cap": cap}, seed, error="killed"))
                elif kind != "absent":
                    rows.append(Row("c", method, {"cap": cap}, seed, values=found))
    return rows


STRANGE: Sequence[Rule] = (
    replace(BEATS, control=("noise",), each=("cap",)),
    Beats("C2", "new", ("old", "noise"), "loss", "higher", Ratio(0.65), gap_to="full"),
    Reaches("C3", "new", "full", "loss", "higher", 0.9, control=("noise",)),
    Reaches("C4", "new", 0.5, "loss", "lower", each=("cap",), needed=1),
    Within("C5", "new", "old", "loss", "higher", 0.1, unit="seed"),
    Orders("C6", "new", "loss", "cap", "falls", 0.2, control=("noise",)),
    Correlates("C7", "new", "loss", "score", 1.0),
    Correlates("C8", "new", "loss", "score", -1.0, unit="seed"),
    AllOf("C9", (BEATS, Orders("C6", "new", "loss", "cap", "rises"))),
    OutOfReach("C10", {"en": "no", "ja": "不可"}, "--model", then=BEATS),
)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(strange_rows())
def test_whatever_the_rows_every_claim_gets_a_verdict(rows):
    found = judge(STRANGE, rows)
    assert list(found) == [rule.claim for rule in STRANGE]
    for verdict in found.values():
        assert verdict.outcome in OUTCOMES
        assert verdict.why["en"]
        assert verdict.why["ja"]
        assert from_json(json.loads(json.dumps(to_json(verdict), allow_nan=False))) == verdict


def test_every_verdict_survives_json():
    for verdict in judge(EVERYTHING, many_rows()).values():
        written = json.loads(json.dumps(to_json(verdict), allow_nan=False))
        assert from_json(written) == verdict


def test_an_infinite_end_survives_json():
    verdict = Verdict("C1", "holds", figure=1.5, interval=(0.5, math.inf), parts=(Verdict("C1", "fails"),))
    assert from_json(json.loads(json.dumps(to_json(verdict), allow_nan=False))) == verdict
    with pytest.raises(ValueError, match="must be one of holds"):
        from_json({**to_json(verdict), "outcome": "wins"})


def test_every_verdict_speaks_both_languages():
    for verdict in judge(EVERYTHING, many_rows()).values():
        for said in (verdict.why, verdict.reads, verdict.power):
            assert set(said) in ({"en", "ja"}, set())
        assert verdict.why["ja"] != verdict.why["en"]


def test_judging_needs_neither_torch_nor_matplotlib():
    code = "import sys, tameshi.bench.judge; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_rule_of_an_unknown_kind_is_refused():
    with pytest.raises(TypeError, match="no way to judge a Rule"):
        judge([Rule("C1")], [])
