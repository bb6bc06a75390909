"""Agreement with people: values by hand, invariances, and the prompt as a value."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.evaluation.active_critic import (
    Criterion,
    CriticPrompt,
    Demonstration,
    Example,
    Scale,
    agreement,
    contributions,
    expected_score,
    per_source,
    read_rated,
)

HUMAN, JUDGE = [1, 2, 3, 4, 5, 2, 4], [2, 2, 3, 5, 4, 1, 4]


def test_three_correlations_by_hand() -> None:
    found = agreement(HUMAN, JUDGE)
    assert (found.pearson, found.spearman) == (pytest.approx(0.833333, abs=1e-6), pytest.approx(0.833333, abs=1e-6))
    assert found.kendall == pytest.approx(0.684211, abs=1e-6)
    assert found.objective == pytest.approx(0.783626, abs=1e-6)
    ties = agreement([1, 2, 2, 3], [1, 2, 3, 4])
    assert (ties.pearson, ties.spearman) == (pytest.approx(0.948683, abs=1e-6), pytest.approx(0.948683, abs=1e-6))
    assert ties.kendall == pytest.approx(0.912871, abs=1e-6)


def test_a_constant_judge_agrees_with_nobody_and_says_so() -> None:
    found = agreement(HUMAN, [3] * 7)
    assert found.degenerate
    assert (found.pearson, found.spearman, found.kendall, found.objective) == (0, 0, 0, 0)
    assert contributions(HUMAN, [3] * 7).tolist() == [0] * 7
    assert agreement([1, 2], [np.nan, 2]).degenerate


def test_scores_that_could_not_be_read_are_left_out_and_counted() -> None:
    found = agreement([*HUMAN, 3], [*JUDGE, np.nan])
    assert (found.n, found.unread, found.spearman) == (7, 1, pytest.approx(0.833333, abs=1e-6))
    with pytest.raises(ValueError, match="must be finite"):
        agreement([1, np.nan], [1, 2])
    with pytest.raises(ValueError, match="every item"):
        agreement([1, 2], [1])


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(3, 20), st.integers(0, 2**32 - 1))
def test_order_of_items_and_monotone_scales_change_nothing(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    human, judge = rng.integers(1, 6, n).astype(float), rng.integers(1, 6, n).astype(float)
    plain, order = agreement(human, judge), rng.permutation(n)
    moved = agreement(human[order], judge[order])
    assert (moved.pearson, moved.spearman, moved.kendall) == pytest.approx(
        (plain.pearson, plain.spearman, plain.kendall)
    )
    bent = agreement(np.exp(human) * 3 - 1, judge)
    assert (bent.spearman, bent.kendall) == pytest.approx((plain.spearman, plain.kendall))
    assert contributions(human, judge).mean() == pytest.approx(plain.spearman)


def test_expected_score_by_hand() -> None:
    assert expected_score({1: 0.05, 2: 0.15, 3: 0.4, 4: 0.3, 5: 0.1}) == pytest.approx(3.25)
    assert expected_score({1: 1, 3: 1}) == 2
    with pytest.raises(ValueError, match="any probability"):
        expected_score({1: 0.0})


def test_correlations_within_sources_need_eight_outputs() -> None:
    human, judge = list(range(10)), list(range(10))
    assert per_source(human, judge, ["a"] * 10) == pytest.approx(1)
    assert per_source(human, judge, ["a"] * 5 + ["b"] * 5) is None
    assert per_source(human, [0] * 10, ["a"] * 10) is None


def test_the_scale_is_taken_from_the_scores_or_asked_for() -> None:
    assert Scale.of([1, 5, 3, 3]) == Scale(1, 5, 1)
    assert Scale.of([0, 0.5, 1]) == Scale(0, 1, 0.5)
    assert Scale.of([float(n) for n in range(40)]) == Scale(0, 39, 1)
    assert Scale.of([n / 7 for n in range(20)], (0, 4)) == Scale(0, 4, 1)
    with pytest.raises(ValueError, match="give its ends"):
        Scale.of([n / 7 for n in range(20)])


PROMPT = CriticPrompt(
    "评审。", (Criterion("clarity", "is it clear", "no", "yes"),),
    (Demonstration(Example("d", "s", "shown text", "s"), 4.0, "because"), Demonstration(Example("e", "", "other", "t"), 1.0)),
    Scale(1, 5), "fine",
)  # fmt: skip


def test_a_prompt_comes_back_byte_for_byte(tmp_path: Path) -> None:
    text = PROMPT.to_json()
    assert CriticPrompt.from_json(text) == PROMPT
    assert CriticPrompt.from_json(text).to_json() == text
    assert PROMPT.save(tmp_path / "critic.json").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a saved critic"),
        ("[]", "not a saved critic"),
        ("{}", "not a saved critic"),
        (json.dumps({"version": 99}), "version 99"),
        (PROMPT.to_json().replace('"definition"', '"meaning"'), "not a saved critic"),
    ],
)
def test_a_file_that_is_no_critic_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CriticPrompt.from_json(text)


def test_demonstrations_stand_in_an_order_of_each_texts_own_and_the_text_itself_is_not_in_the_rules() -> None:
    rubrics = {PROMPT.rubric(Example(str(n), "", "the text")) for n in range(12)}
    assert len(rubrics) == 2
    assert PROMPT.rubric(Example("1", "", "x")) == PROMPT.rubric(Example("1", "", "y"))
    for text in rubrics:
        assert "shown text" in text
        assert "<score>4</score>" in text
        assert "the text" not in text
    only = PROMPT.rubric(Example("1", "", "x"), criterion=PROMPT.criteria[0])
    assert "one thing only" in only
    assert (PROMPT.calls, CriticPrompt("", (), (), Scale(1, 5), "fine").calls) == (2, 1)


def test_rated_texts_are_read_from_csv_json_and_the_fields_of_summeval(tmp_path: Path) -> None:
    table = tmp_path / "rated.csv"
    table.write_text("source,output,score,fluency\na,one,3,5\na,two,4,4\nb,three,1,1\n")
    examples, scores = read_rated(table)
    assert [e.group for e in examples] == ["source 1", "source 1", "source 2"]
    assert scores == [3, 4, 1]
    assert read_rated(table, score="score,fluency")[1] == [4, 4, 1]
    rows = [
        {
            "doc_id": "d1",
            "system_output": "text",
            "source": "long",
            "scores": {"coherence": 1, "consistency": 2, "fluency": 3, "relevance": 4},
        }
    ]
    for content in (json.dumps(rows), json.dumps(rows[0]) + "\n"):
        summeval = tmp_path / "summeval.json"
        summeval.write_text(content)
        assert read_rated(summeval)[1] == [2.5]
        assert read_rated(summeval, score="fluency")[1] == [3]
        assert read_rated(summeval)[0][0].group == "d1"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "source,score\na,1\n", "no text under output"),
        ("a.csv", "output,points\na,1\n", "no score under score"),
        ("a.csv", "output,score\na,good\n", "no number"),
        ("a.csv", "", "no rated text"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[1]", "one object"),
    ],
)
def test_rated_texts_in_another_form_name_the_row(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_rated(tmp_path / name)
    with pytest.raises(ValueError, match="cannot be read"):
        read_rated(tmp_path / "none.csv")
