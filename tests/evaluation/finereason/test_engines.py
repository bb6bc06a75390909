"""The four engines: rules, trees counted by hand or by theory, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.evaluation.finereason import (
    Game24,
    GraphColoring,
    LogicGrid,
    Sudoku,
    TreeTooLarge,
    draw_puzzle,
    is_legal,
    puzzle_from_json,
    sudoku,
    tree,
)
from tameshi.evaluation.finereason.game24 import reaches, value
from tameshi.evaluation.finereason.generators import small_grids
from tameshi.evaluation.finereason.graph_coloring import chromatic_number

FIGURE_1 = [[1, 4, 2, 3], [0, 0, 1, 4], [4, 0, 3, 0], [0, 3, 4, 0]]

APPOINTMENTS = LogicGrid(
    {
        "times": [9, 10, 11, 12],
        "names": ["Billy", "Guy", "Paul", "Terry"],
        "ailments": ["back pain", "hip pain", "shingles", "vertigo"],
        "insurers": ["Ambercare", "HealthCo", "Lifealign", "Triflex"],
    },
    {
        "1": "(T[r('Lifealign')][c('times')] < T[r('shingles')][c('times')])",
        "2": "(T[r(12)][c('names')] == 'Terry' or T[r(12)][c('insurers')] == 'Ambercare')"
        " and (T[r('Terry')][c('insurers')] != 'Ambercare')",
        "3": "(T[r('back pain')][c('times')] == T[r('Guy')][c('times')] - 2)",
        "4": "(T[r('Ambercare')][c('times')] > T[r('vertigo')][c('times')])",
        "5": "(T[r('Billy')][c('insurers')] != 'Lifealign' and T[r('shingles')][c('insurers')] != 'Lifealign')"
        " and (T[r('Billy')][c('ailments')] != 'shingles')",
        "6": "(T[r(9)][c('names')] == 'Paul' or T[r(9)][c('ailments')] == 'back pain')"
        " and (T[r('Paul')][c('ailments')] != 'back pain')",
        "7": "(T[r(10)][c('insurers')] == 'Triflex')",
        "8": "((T[r('vertigo')][c('times')] == 11 and T[r('Ambercare')][c('names')] == 'Billy')"
        " or (T[r('Ambercare')][c('times')] == 11 and T[r('vertigo')][c('names')] == 'Billy'))"
        " and (T[r('vertigo')][c('insurers')] != 'Ambercare') and (T[r(11)][c('names')] != 'Billy')",
    },
)


def cycle(n: int) -> list[list[int]]:
    return [sorted([(v - 1) % n, (v + 1) % n]) for v in range(n)]


def complete(n: int) -> list[list[int]]:
    return [[w for w in range(n) if w != v] for v in range(n)]


def petersen() -> list[list[int]]:
    graph: list[list[int]] = [[] for _ in range(10)]
    for i in range(5):
        for v, w in ((i, (i + 1) % 5), (i, i + 5), (5 + i, 5 + (i + 2) % 5)):
            graph[v].append(w)
            graph[w].append(v)
    return graph


def test_there_are_288_sudokus_of_side_four() -> None:
    assert len(set(small_grids())) == 288


def test_the_sudoku_of_figure_1_has_one_solution_and_one_way_off_it() -> None:
    puzzle = Sudoku(FIGURE_1)
    assert puzzle.unique()
    assert puzzle.solution(puzzle.initial) == ((1, 4, 2, 3), (3, 2, 1, 4), (4, 1, 3, 2), (2, 3, 4, 1))
    nodes = [node for node in tree(puzzle) if node.depth]
    assert sorted(node.depth for node in nodes if node.solvable) == [1, 2, 3, 4, 5, 6]
    assert [node.depth for node in nodes if not node.solvable] == [1]


@pytest.mark.parametrize(
    ("graph", "k", "solvable", "unsolvable"),
    [
        (cycle(5), 2, 0, 3),
        (cycle(5), 3, 12, 0),
        (complete(4), 3, 0, 2),
        (complete(4), 4, 3, 0),
        (petersen(), 3, 94, 15),
    ],
)
def test_colouring_trees_have_the_counted_number_of_nodes(
    graph: Sequence[Sequence[int]], k: int, solvable: int, unsolvable: int
) -> None:
    below = [node for node in tree(GraphColoring(graph, k)) if node.depth > 1]  # vertex 0 has colour 1
    assert sum(node.solvable for node in below) == solvable
    assert sum(not node.solvable for node in below) == unsolvable


def test_petersen_needs_three_colours_and_the_odd_cycle_too() -> None:
    assert [chromatic_number(g) for g in (petersen(), cycle(5), cycle(6), complete(6))] == [3, 3, 2, 6]
    assert not GraphColoring(petersen(), 2).solvable((0,) * 10)


def test_of_1820_hands_1362_make_24() -> None:
    hands = combinations_with_replacement(range(1, 14), 4)
    assert sum(reaches(tuple(map(Fraction, hand))) for hand in hands) == 1362


@pytest.mark.parametrize(
    ("hand", "counts"),
    [
        ([5, 9, 12, 12], [(36, 11), (644, 12), (3832, 12)]),
        ([4, 4, 6, 8], [(36, 8), (644, 14), (3824, 14)]),
        ([1, 2, 4, 7], [(36, 7), (648, 8), (3888, 8)]),
        ([3, 3, 8, 8], [(36, 4), (640, 4), (3776, 4)]),
    ],
)
def test_trees_of_24_have_the_counted_number_of_nodes(hand: list[int], counts: list[tuple[int, int]]) -> None:
    puzzle = Game24(hand)
    level, found = [puzzle.initial], []
    for _ in range(3):
        level = [move for state in level for move in puzzle.moves(state)]
        found.append((len(level), sum(map(puzzle.solvable, level))))
    assert found == counts


def test_fractions_decide_a_hand_that_rounding_would_lose() -> None:
    solution = Game24([3, 3, 8, 8]).solution(("3", "3", "8", "8"))
    assert solution == ("(8 / (3 - (8 / 3)))",)
    assert 8 / (3 - 8 / 3) != 24


def test_the_appointments_have_the_one_solution_and_clue_7_is_a_legal_move_after_clue_8() -> None:
    assert APPOINTMENTS.solutions == (
        (
            (9, "Terry", "back pain", "Lifealign"),
            (10, "Paul", "shingles", "Triflex"),
            (11, "Guy", "vertigo", "HealthCo"),
            (12, "Billy", "hip pain", "Ambercare"),
        ),
    )
    after_8 = ((9, "", "", ""), (10, "", "", ""), (11, "", "vertigo", ""), (12, "Billy", "", "Ambercare"))
    after_7 = ((9, "", "", ""), (10, "", "", "Triflex"), (11, "", "vertigo", ""), (12, "Billy", "", "Ambercare"))
    assert is_legal(APPOINTMENTS, APPOINTMENTS.initial, after_8)
    assert is_legal(APPOINTMENTS, after_8, after_7)
    terry_at_10 = ((9, "", "", ""), (10, "Terry", "", ""), (11, "", "vertigo", ""), (12, "Billy", "", "Ambercare"))
    assert is_legal(APPOINTMENTS, after_8, terry_at_10)
    assert APPOINTMENTS.solvable(after_8)
    assert not APPOINTMENTS.solvable(terry_at_10)


def test_a_logic_grid_places_an_option_once_although_the_official_check_would_not_mind() -> None:
    puzzle = LogicGrid({"n": [1, 2], "x": ["a", "b"]}, {"1": "T[r(1)][c('x')] == 'a' or T[r(2)][c('x')] == 'a'"})
    assert puzzle.moves(((1, "a"), (2, ""))) == [((1, "a"), (2, "b"))]  # no clue names b: it follows by elimination
    with pytest.raises(ValueError, match="the column x holds an option twice"):
        puzzle.table([["n", "x"], [1, "a"], [2, "a"]])


@pytest.mark.parametrize("kind", ["sudoku", "graph_coloring", "game24", "logic_grid"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_every_move_is_legal_renders_back_and_cannot_be_played_backwards(kind: str, seed: int) -> None:
    rng = Random(seed)
    puzzle = draw_puzzle(kind, rng, size={"sudoku": 4, "graph_coloring": 8}.get(kind, 0))  # type: ignore[arg-type]  # a kind's name
    state = puzzle.initial
    again = puzzle_from_json(puzzle.to_json())
    while moves := puzzle.moves(state):
        for move in moves[:30]:
            assert puzzle.objection(state, move) is None
            assert puzzle.objection(move, state) is not None
            assert puzzle.extends(move, state)
            assert puzzle.open_cells(move) < puzzle.open_cells(state)
            assert puzzle.parse(puzzle.render(move)) == move
            assert again.solvable(move) is puzzle.solvable(move)
        assert all(child in moves for child in puzzle.children(state))
        state = rng.choice(moves)


@pytest.mark.parametrize("kind", ["sudoku", "graph_coloring", "game24", "logic_grid"])
def test_a_solution_is_solved_and_extends_its_state(kind: str, rng) -> None:
    puzzle = draw_puzzle(kind, rng)
    solution = puzzle.solution(puzzle.initial)
    assert puzzle.solved(solution)
    assert puzzle.extends(solution, puzzle.initial)
    assert not puzzle.solved(puzzle.initial)


def test_what_is_not_one_legal_move_is_told_apart() -> None:
    sudoku = Sudoku(FIGURE_1)
    start = sudoku.initial
    assert sudoku.objection(start, ((1, 4, 2, 3), (3, 2, 1, 4), *start[2:])) == "multiple moves"
    assert sudoku.objection(start, ((1, 4, 2, 3), (4, 0, 1, 4), *start[2:])) == "invalid move"
    assert sudoku.objection(start, start) == "invalid move"
    colors = GraphColoring(cycle(5), 3)
    assert colors.objection((1, 0, 0, 0, 0), (1, 4, 0, 0, 0)) == "too many colors"
    assert colors.objection((1, 0, 0, 0, 0), (1, 1, 0, 0, 0)) == "invalid move"
    assert colors.objection((1, 0, 0, 0, 0), (2, 0, 0, 0, 0)) == "invalid move"
    hand = Game24([1, 12, 2, 1])
    assert hand.objection(hand.initial, ("(1 + 12)", "2", "1")) is None  # the official string check rejects this one
    assert hand.objection(hand.initial, ("2", "1", "(12 + 1)")) is None
    assert hand.objection(hand.initial, ("(1 + 12)", "2", "2")) == "different numbers"
    assert hand.objection(hand.initial, ("(1 + 12)", "(2 + 1)")) == "multiple moves"
    assert hand.objection(hand.initial, ("(1 + 12)", "(2 - 1)", "1")) == "different numbers"


def test_expressions_are_the_same_up_to_the_order_of_sums_and_products_only() -> None:
    puzzle = Game24([2, 3, 4, 5])
    assert puzzle.same(("(2 + 3)", "(5 * 4)"), ("(4 * 5)", "(3 + 2)"))
    assert not puzzle.same(("(2 - 3)", "4", "5"), ("(3 - 2)", "4", "5"))
    assert puzzle.extends(("((3 + 2) * 4)", "5"), ("(2 + 3)", "4", "5"))
    assert not puzzle.extends(("((3 * 2) + 4)", "5"), ("(2 + 3)", "4", "5"))


@pytest.mark.parametrize(
    "text",
    [
        "2 ** 9999999999",
        "9**9**9**9",
        "7 // 2",
        "__import__('os')",
        "a + 1",
        "(1).real",
        "57+",
        "(1 + 12",
        "1 2",
        "1e9 + 1",
        "-5 + 1",
        "5 / 0",
        "5 / (3 - 3)",
        "(" * 150 + "1" + ")" * 150,
        "((1 + 2)(3))",
        "1, 2",
        "1 if 2 else 3",
        "9" * 5_000,
        "",
    ],
)
def test_expressions_of_24_hold_numbers_and_four_signs_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError):
        value(text)


def test_rules_broken_in_the_input_are_named_with_their_place() -> None:
    with pytest.raises(ValueError, match="side must be 4, 9 or 16, got 6 rows"):
        Sudoku([[0] * 6] * 6)
    with pytest.raises(ValueError, match="row 2 must have 4 cells"):
        Sudoku([[0] * 4, [0] * 3, [0] * 4, [0] * 4])
    with pytest.raises(ValueError, match="row 1, column 3 must hold 0 to 4, got 5"):
        Sudoku([[0, 0, 5, 0], *[[0] * 4] * 3])
    with pytest.raises(ValueError, match="row 1, column 1 must hold 0 to 4, got True"):
        Sudoku([[True, 0, 0, 0], *[[0] * 4] * 3])
    with pytest.raises(ValueError, match="column 1 holds a digit twice"):
        Sudoku([[1, 0, 0, 0], [0] * 4, [1, 0, 0, 0], [0] * 4])
    with pytest.raises(ValueError, match="vertex 0 is joined to 1, but 1 not to 0"):
        GraphColoring([[1], []], 2)
    with pytest.raises(ValueError, match="vertex 0 is joined to itself"):
        GraphColoring([[0]], 2)
    with pytest.raises(ValueError, match=r"vertex 0 is joined to 7, but vertices are 0 to 1"):
        GraphColoring([[7], [0]], 2)
    for graph in ([], None, {0: [1]}):
        with pytest.raises(ValueError, match="a graph is a list"):
            GraphColoring(graph, 2)  # type: ignore[arg-type]  # that is what is refused
    with pytest.raises(ValueError, match="vertex 1 must have a list of vertices"):
        GraphColoring([[1], 0], 2)  # type: ignore[list-item]  # the same
    with pytest.raises(ValueError, match="max_colors must be 1 to 1000, got 1000000000"):
        GraphColoring([[1], [0]], 10**9)
    with pytest.raises(ValueError, match="the options of x must be a list of texts and numbers"):
        LogicGrid({"n": [1, 2], "x": [["a"], "b"]}, {})  # type: ignore[dict-item]  # the same
    with pytest.raises(ValueError, match="graphs are drawn with 4 to 40 vertices, got 5000"):
        draw_puzzle("graph_coloring", Random(0), size=5000)
    with pytest.raises(ValueError, match=r"whole, 0 to 999, got '1\.5'"):
        Game24(["1.5", 2, 3, 4])
    with pytest.raises(ValueError, match="clue 1 names the column 'z'"):
        LogicGrid({"n": [1, 2], "x": ["a", "b"]}, {"1": "T[r('a')][c('z')] == 1"})
    with pytest.raises(ValueError, match="a puzzle's kind must be one of"):
        puzzle_from_json({"kind": "chess"})


def test_a_tree_that_is_too_large_says_so_instead_of_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TreeTooLarge, match="more than 500 nodes"):
        list(tree(Sudoku([[0] * 9] * 9), cap=500))
    options = [f"o{i}" for i in range(12)]
    clue = " or ".join(f"T[r({o!r})][c('n')] == {n}" for n, o in enumerate(options))
    grid = LogicGrid({"n": list(range(12)), "x": options}, {"1": clue})
    with pytest.raises(TreeTooLarge, match="places 12 options in more than 200,000 ways"):
        grid.moves(grid.initial)
    monkeypatch.setattr(sudoku, "MOST_STEPS", 20)
    with pytest.raises(TreeTooLarge, match="more than 20 steps"):
        Sudoku([[0] * 9] * 9).solvable(((0,) * 9,) * 9)


def test_a_dense_graph_of_25_vertices_is_coloured_exactly_without_a_cap_in_sight(rng) -> None:
    puzzle = draw_puzzle("graph_coloring", rng, size=25)
    assert puzzle.solvable(puzzle.initial)
    fewer = GraphColoring(puzzle.graph, puzzle.max_colors - 1)
    assert not fewer.solvable(fewer.initial)


def test_open_cells_count_down_to_nothing() -> None:
    puzzle = Sudoku(FIGURE_1)
    assert puzzle.open_cells(puzzle.initial) == 6
    assert math.prod(map(bool, sum(puzzle.solution(puzzle.initial), ()))) == 1
