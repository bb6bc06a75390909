from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.evaluation.messages import Unparsed
from tameshi.evaluation.readers import (
    Labels,
    read_items,
    read_json,
    read_label,
    read_letter,
    read_number,
    read_yes_no,
)

SOLVABLE: Labels = {"Solvable": ("colorable", "(A)", "A"), "Unsolvable": ("uncolorable", "(B)", "B")}
RELEVANT: Labels = {"相关": (), "不相关": ()}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Answer: **NO**", "NO"),
        ("It is not true. NO.", "NO"),
        ("NO, because the first is older.\nOn second thought it is not.\nAnswer: Yes", "YES"),
        ("yes ... wait, no", "NO"),
        ("The answer is no.", "NO"),
        ("**Answer:** ＹＥＳ", "YES"),
        ("no\nAnswer:\nYES", "YES"),
        ("答案：不是", "NO"),
        ("答え：はい", "YES"),
        ("そうとは思えない。いいえ。", "NO"),
    ],
)
def test_the_last_committed_yes_or_no_is_read(text: str, label: str) -> None:
    assert read_yes_no(text) == label


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("YES and NO", "together"),
        ("Final answer: YES or NO", "together"),
        ("I would not say yes, nor that", "denies|names none"),
        ("It is not yes", "denies YES"),
        ("はい、とは言えない", "denies YES"),
        ("yesterday I know nothing", "names none"),
        ("", "names none"),
    ],
)
def test_what_commits_itself_to_nothing_is_unparsed_with_a_reason(text: str, reason: str) -> None:
    read = read_yes_no(text)
    assert isinstance(read, Unparsed)
    assert any(part in read.reason for part in reason.split("|"))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Answer: (A)", "Solvable"),
        ("(A) Solvable (B) Unsolvable ... Answer: B", "Unsolvable"),
        ("answer: unsolvable", "Unsolvable"),
        ("uncolorable", "Unsolvable"),
        ("Answer: Ｂ", "Unsolvable"),
    ],
)
def test_labels_are_read_in_any_case_and_width(text: str, label: str) -> None:
    assert read_label(text, SOLVABLE) == label


def test_not_solvable_is_read_as_neither_label() -> None:
    assert read_label("not Solvable", SOLVABLE) == Unparsed("denies Solvable")
    assert read_label("Answer: this is not unsolvable", SOLVABLE) == Unparsed("denies Unsolvable")


def test_a_label_inside_a_longer_label_is_not_found_twice() -> None:
    assert read_label("答案：不相关", RELEVANT) == "不相关"
    assert read_label("这是相关的", RELEVANT) == "相关"


def test_only_an_answer_line_counts_where_that_is_asked_for() -> None:
    assert read_label("the text says Solvable", SOLVABLE, marked_only=True) == Unparsed("no answer line")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A.xxx;答案是C", "C"),
        ("Ｃ", "C"),
        ("答案：B", "B"),
        ("Answer: c. because A is wrong", "C"),
        ("A man chose B", "B"),
    ],
)
def test_the_last_letter_that_stands_alone_is_read(text: str, letter: str) -> None:
    assert read_letter(text) == letter


@pytest.mark.parametrize("text", ["A and B", "Answer: A or B", "I am sure", "a man", ""])
def test_two_letters_or_none_are_unparsed(text: str) -> None:
    assert isinstance(read_letter(text), Unparsed)


def test_numbers_are_read_from_their_tag_and_never_clamped() -> None:
    assert read_number("<score>2</score> no: <SCORE> ４.５ </SCORE>", low=1, high=5) == 4.5
    for wrong in (
        "5",
        "<score>five</score>",
        "<score>9</score>",
        "<score>nan</score>",
        "<score>1e9</score>",
        "<score></score>",
    ):
        assert isinstance(read_number(wrong, low=1, high=5), Unparsed)
    assert isinstance(read_number("<score>2.5</score>", low=1, high=5, whole=True), Unparsed)


def test_json_is_found_in_prose_and_in_fences_and_must_have_the_form_asked_for() -> None:
    assert read_json('So {"a": 1} becomes\n```json\n{"b": [1, 2]}\n```\nDone.') == {"b": [1, 2]}
    assert read_json("[1, 2]") == Unparsed("the JSON does not have the form asked for")
    assert read_json("[1, 2]", lambda value: isinstance(value, list)) == [1, 2]
    assert read_json('{"a": ') == Unparsed("no JSON")
    assert read_json('{"a": NaN}') == {"a": None}


def test_a_wall_of_brackets_is_no_json() -> None:
    assert isinstance(read_json("[{" * 100_000), Unparsed)
    assert isinstance(read_json('{"a":' * 30_000), Unparsed)


def test_lists_are_split_at_the_separators_of_both_widths() -> None:
    assert read_items("网球，运动, 网球；球拍") == ("网球", "运动", "球拍")


@given(st.text(max_size=200))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_no_text_makes_a_reader_fail(text: str) -> None:
    assert isinstance(read_yes_no(text), str | Unparsed)
    assert isinstance(read_letter(text), str | Unparsed)
    assert isinstance(read_number(text, low=0, high=1), float | Unparsed)
    read_json(text)


def test_a_wall_of_answer_lines_costs_no_more_than_its_length() -> None:
    wall = "Answer: " * 50_000
    assert isinstance(read_yes_no(wall), Unparsed)
    assert isinstance(read_letter(wall.lower()), Unparsed)
    assert read_yes_no(wall + "YES") == "YES"
