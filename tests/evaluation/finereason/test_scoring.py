"""Readers and rules: what an answer says, and what it is worth."""

from __future__ import annotations

import math
from random import Random

import pytest

from tameshi.evaluation.finereason import (
    Game24,
    GraphColoring,
    Item,
    Kind,
    Outcome,
    Sudoku,
    build_items,
    detection,
    error_counts,
    judge_move,
    read_status,
    score_e2e,
    score_sc,
    score_st,
)
from tameshi.evaluation.finereason.policies import (
    CHECKING,
    copy_the_start,
    dead_cell,
    parent_or_any_move,
    stay,
)
from tameshi.evaluation.finereason.prompts import checking_prompt, solution_prompt, transition_prompt
from tameshi.evaluation.messages import Unparsed

DRAWN: list[tuple[Kind, int]] = [("sudoku", 4), ("sudoku", 9), ("graph_coloring", 0), ("game24", 0), ("logic_grid", 0)]
FOUR = Sudoku([[1, 4, 2, 3], [0, 0, 1, 4], [4, 0, 3, 0], [0, 3, 4, 0]])
HAND = Game24([4, 4, 6, 8])


def hand_item(status: str = "Solvable") -> Item:
    """(4 + 8), 4, 6 can make 24; (8 / 4), 4, 6 is its sibling."""
    return Item(
        "1",
        "g",
        HAND,
        ("(4 + 8)", "4", "6"),
        HAND.initial,
        None,
        ("((4 + 8) + 4)", "6"),
        status,  # type: ignore[arg-type]  # one of the two words
        1,
    )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Answer: (A)", "Solvable"),
        ("(A) Solvable (B) Unsolvable ... Answer: B", "Unsolvable"),
        ("(A) Solvable\n(B) Unsolvable\nI take the second.\n**Answer:** B", "Unsolvable"),
        ("answer: unsolvable", "Unsolvable"),
        ("Answer: uncolorable", "Unsolvable"),
        ("Answer: Colorable", "Solvable"),
        ("Answer：（Ｂ）", "Unsolvable"),
        ("First it looked solvable. But it is unsolvable.", "Unsolvable"),
        ("Answer: (A). Wait.\nAnswer: (B)", "Unsolvable"),
    ],
)
def test_the_label_an_answer_ends_on_is_read(text: str, status: str) -> None:
    assert read_status(text) == status


@pytest.mark.parametrize("text", ["not Solvable", "Answer: not Solvable", "Answer: (A) or (B)", "hm", "", "A Sudoku."])
def test_what_commits_to_no_label_is_unparsed_and_not_wrong(text: str) -> None:
    assert isinstance(read_status(text), Unparsed)
    assert isinstance(score_sc(text, hand_item()), Unparsed)


@pytest.mark.parametrize(
    ("answer", "official", "strict"),
    [
        ('Next state: ["((4 + 8) * 4)", "6"]', Outcome(True), Outcome(False, "dead end")),
        ('Next state: ["(6 - 4)", "(4 + 8)"]', Outcome(True), Outcome(True)),
        ("next state: [(6 - 4), (8 + 4)]", Outcome(True), Outcome(True)),
        (
            'Next state: ["6", "(4 + (8 + 4))"]',
            Outcome(False, "unsolvable child"),
            Outcome(False, "unsolvable child"),
        ),
        ('Next state: ["4", "4", "6", "8"]', Outcome(False, "invalid move"), Outcome(False, "invalid move")),
        (
            'Next state: ["(((4 + 8) * 4) / 6)"]',
            Outcome(False, "multiple moves"),
            Outcome(False, "multiple moves"),
        ),
        (
            'Next state: ["(4 + 8)", "(6 - 5)"]',
            Outcome(False, "different numbers"),
            Outcome(False, "different numbers"),
        ),
    ],
)
def test_a_move_forward_by_the_official_and_by_the_strict_rule(answer: str, official: Outcome, strict: Outcome) -> None:
    assert score_st(answer, hand_item()) == official
    assert score_st(answer, hand_item(), strict=True) == strict


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ('Next state: ["4", "4", "6", "8"]', Outcome(True)),
        ('Next state: ["8", "4", "6", "4"]', Outcome(True)),
        ('Next state: ["(8 / 4)", "4", "6"]', Outcome(False, "sibling")),
        ('Next state: ["(6 - 4)", "(4 + 8)"]', Outcome(False, "backtracking failure")),
    ],
)
def test_from_an_unsolvable_state_only_the_parent_is_right(answer: str, outcome: Outcome) -> None:
    assert score_st(answer, hand_item("Unsolvable")) == outcome


@pytest.mark.parametrize(
    "answer",
    [
        "I would add.",
        "Next state:",
        "Next state: [57+, 4]",
        "Next state: [[1,2],[3]]",
        'Next state: ["2 ** 99999", "6"]',
        'Next state: ["x", "6"]',
        "Next state: " + "[" * 5_000,
        "Next state: [" + "(" * 5_000 + "]",
    ],
)
@pytest.mark.parametrize(("kind", "size"), DRAWN)
def test_a_malformed_state_is_unparsed_with_a_reason(answer: str, kind: Kind, size: int) -> None:
    item = build_items(kind, 8, size=size)[0]
    judged = score_st(answer, item)
    assert isinstance(judged, Unparsed)
    assert judged.reason


def test_a_model_that_breaks_one_answer_in_ten_is_counted_and_never_crashes() -> None:
    rng = Random(0)
    breaks = [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("Next state", "Then"),
        lambda text: text.replace("[", "("),
        lambda text: "",
        lambda text: text + "\x00�",
    ]
    for kind, size in DRAWN:
        items = build_items(kind, 20, seed=1, size=size)
        answers = [parent_or_any_move(item) for item in items]
        broken = set(rng.sample(range(20), 2))
        judged = [
            score_st(rng.choice(breaks[:4])(a) if i in broken else a, item)
            for i, (a, item) in enumerate(zip(answers, items, strict=True))
        ]
        assert [i for i, j in enumerate(judged) if isinstance(j, Unparsed)] == sorted(broken)
        assert error_counts(judged) == {"unparsed": 2}


@pytest.mark.parametrize(("kind", "size"), DRAWN)
def test_a_policy_without_look_ahead_reaches_every_point_of_the_official_rule(kind: Kind, size: int) -> None:
    items = build_items(kind, 32, seed=3, size=size)
    official = [score_st(parent_or_any_move(item), item) for item in items]
    assert all(isinstance(j, Outcome) and j.correct for j in official)


def test_the_strict_rule_tells_a_look_ahead_from_none() -> None:
    items = [item for item in build_items("game24", 80, seed=3) if item.status == "Solvable"]
    strict = [score_st(parent_or_any_move(item), item, strict=True) for item in items]
    assert 0 < sum(isinstance(j, Outcome) and j.correct for j in strict) < len(items) / 2
    assert set(error_counts(strict)) == {"dead end"}

    def looks_ahead(item: Item) -> str:
        good = next(move for move in item.puzzle.moves(item.current) if item.puzzle.solvable(move))
        return f"Next state: {item.puzzle.render(good)}"

    assert all(score_st(looks_ahead(item), item, strict=True) == Outcome(True) for item in items)


def test_staying_put_is_never_a_move() -> None:
    for item in build_items("sudoku", 16, size=4):
        judged = score_st(stay(item), item)
        assert isinstance(judged, Outcome)
        assert not judged.correct


def test_always_the_same_label_scores_half_and_a_dead_cell_is_never_a_false_alarm() -> None:
    items = build_items("sudoku", 80, seed=2, size=4)
    found = {name: detection((i.status, read_status(p(i))) for i in items) for name, p in CHECKING.items()}
    assert found["always solvable"].accuracy == found["always unsolvable"].accuracy == 0.5
    assert math.isnan(found["always solvable"].precision)
    assert found["always unsolvable"].recall == 1
    assert found["dead cell"].precision == 1
    assert found["dead cell"].accuracy > 0.8


def test_detection_counts_by_hand() -> None:
    said = [("Unsolvable", "Unsolvable")] * 3 + [("Unsolvable", "Solvable")] + [("Solvable", "Unsolvable")] * 2
    found = detection([*said, ("Solvable", "Solvable"), ("Solvable", Unparsed("?"))])  # type: ignore[list-item]  # words
    assert (found.accuracy, found.precision, found.recall, found.f1) == (4 / 7, 3 / 5, 3 / 4, 6 / 9)
    assert found.unparsed == 1


def test_all_zero_passes_the_official_end_to_end_check_of_colouring_and_not_ours() -> None:
    for item in build_items("graph_coloring", 16):
        assert score_e2e(copy_the_start(item.puzzle), item.puzzle, official=True) == Outcome(True)
        assert score_e2e(copy_the_start(item.puzzle), item.puzzle) == Outcome(False, "not a solution")


@pytest.mark.parametrize(("kind", "size"), DRAWN)
def test_the_true_solution_scores_end_to_end(kind: Kind, size: int) -> None:
    puzzle = build_items(kind, 8, size=size)[0].puzzle
    solution = puzzle.solution(puzzle.initial)
    assert score_e2e(f"... Solution: {puzzle.render(solution)}", puzzle) == Outcome(True)


def test_end_to_end_the_givens_may_not_change() -> None:
    other = "[[2, 1, 4, 3], [3, 4, 1, 2], [1, 2, 3, 4], [4, 3, 2, 1]]"
    assert score_e2e(f"Solution: {other}", FOUR) == Outcome(False, "changes what was given")
    assert score_e2e("Solution: (4 + 8) * (6 - 4) = 24", HAND) == Outcome(True)
    assert score_e2e("Solution: 4 * 6", HAND) == Outcome(False, "changes what was given")


def test_a_dead_cell_is_seen_in_sudoku_and_colouring() -> None:
    item = Item(
        "1",
        "g",
        FOUR,
        ((1, 4, 2, 3), (2, 0, 1, 4), (4, 0, 3, 0), (0, 3, 4, 0)),
        FOUR.initial,
        None,
        (),
        "Unsolvable",
        1,
    )
    assert dead_cell(item) == "Answer: (B)"
    triangle = GraphColoring([[1, 2], [0, 2], [0, 1]], 2)
    assert dead_cell(Item("1", "g", triangle, (1, 2, 0), (1, 0, 0), None, (), "Unsolvable", 2)) == "Answer: (B)"
    assert dead_cell(Item("1", "g", triangle, (1, 0, 0), (0, 0, 0), None, (), "Unsolvable", 1)) == "Answer: (A)"


@pytest.mark.parametrize(("kind", "size"), DRAWN)
def test_prompts_show_the_state_and_the_failed_child_and_keep_the_label_back_where_it_is_asked(
    kind: Kind, size: int
) -> None:
    for item in build_items(kind, 16, seed=4, size=size):
        checking, transition = checking_prompt(item), transition_prompt(item)
        for text in (checking, transition):
            assert item.puzzle.render(item.current) in text
            assert item.puzzle.render(item.unsolvable_child) in text
        if kind != "logic_grid":  # whose question shows the way, as the paper's does
            assert item.puzzle.render(item.parent) not in checking.replace(item.puzzle.render(item.current), "")
        assert item.puzzle.render(item.parent) in transition
        assert item.puzzle.render(item.puzzle.initial) in solution_prompt(item.puzzle)
        assert judge_move(item.parent, item).correct is (item.status == "Unsolvable")
