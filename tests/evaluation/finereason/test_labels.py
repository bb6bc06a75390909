"""Labels against brute force, on drawn items."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tameshi.evaluation.finereason import Item, Kind, build_items, checking_prompt, draw_puzzle, tree
from tameshi.evaluation.finereason.generators import draw_small_sudoku
from tests.evaluation.finereason.brute import can_be_solved, grids, small_grids

DRAWN: list[tuple[Kind, int, int]] = [
    ("sudoku", 4, 800),
    ("sudoku", 9, 150),
    ("graph_coloring", 0, 350),
    ("game24", 0, 600),
    ("logic_grid", 0, 100),
]


def test_no_label_of_two_thousand_drawn_items_differs_from_brute_force() -> None:
    items = [item for kind, size, n in DRAWN for item in build_items(kind, n, seed=11, size=size)]
    assert len(items) == 2_000
    wrong = [i.id for i in items if can_be_solved(i.puzzle, i.current) is not (i.status == "Solvable")]
    assert wrong == []
    assert [i.id for i in items if i.puzzle.solvable(i.current) is not (i.status == "Solvable")] == []


@pytest.mark.parametrize(("kind", "size"), [(kind, size) for kind, size, _ in DRAWN])
def test_items_are_balanced_distinct_and_honest(kind: Kind, size: int) -> None:
    items = build_items(kind, 32, seed=5, size=size)
    assert Counter(i.status for i in items) == {"Solvable": 16, "Unsolvable": 16}
    assert len({i.puzzle.canonical(i.current) for i in items}) == 32
    for item in items:
        puzzle = item.puzzle
        assert puzzle.objection(item.parent, item.current) is None
        assert puzzle.objection(item.current, item.unsolvable_child) is None
        assert not can_be_solved(puzzle, item.unsolvable_child)
        assert not puzzle.solved(item.current)
        assert puzzle.solvable(puzzle.initial)
        assert puzzle.extends(item.current, puzzle.initial)
        assert item.depth == 1 or (
            item.grandparent is not None and puzzle.objection(item.grandparent, item.parent) is None
        )
        assert puzzle.parse(puzzle.render(item.current)) == item.current


def test_the_same_seed_draws_the_same_items_and_another_seed_others() -> None:
    def drawn(seed: int) -> list[object]:
        return [item.to_json() for item in build_items("sudoku", 20, seed=seed, size=4)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


@pytest.mark.parametrize("kind", ["sudoku", "graph_coloring", "game24", "logic_grid"])
def test_a_state_is_solvable_exactly_if_a_child_is_and_exactly_if_a_move_is(kind: Kind) -> None:
    for item in build_items(kind, 24, seed=2, size={"sudoku": 4, "graph_coloring": 12}.get(kind, 0)):
        puzzle, solvable = item.puzzle, item.status == "Solvable"
        assert any(map(puzzle.solvable, puzzle.children(item.current))) is solvable
        assert any(map(puzzle.solvable, puzzle.moves(item.current))) is solvable


def test_labels_carried_back_through_a_tree_are_those_of_the_solver(rng) -> None:
    for _ in range(20):
        puzzle = draw_puzzle("sudoku", rng, size=4)
        assert all(puzzle.solvable(node.state) is node.solvable for node in tree(puzzle))


def test_drawn_puzzles_have_one_solution_and_as_many_blanks_as_the_official_ones(rng) -> None:
    small = [draw_small_sudoku(rng) for _ in range(40)]
    for puzzle in small:
        clues = sum(puzzle.initial, ())
        fits = [g for g in small_grids() if all(c in (0, d) for c, d in zip(clues, g, strict=True))]
        assert len(fits) == 1
        assert 5 <= 16 - clues.count(0) <= 7
    for _ in range(5):
        large = draw_puzzle("sudoku", rng)
        assert 45 <= large.open_cells(large.initial) <= 49
        solution = large.solution(large.initial)
        r, c = next((r, c) for r in range(9) for c in range(9) if not large.initial[r][c])
        others = [m for m in large.moves(large.initial) if m[r][c] not in (0, solution[r][c])]
        assert not any(can_be_solved(large, move) for move in others)
    for _ in range(5):
        assert len(grids(draw_puzzle("logic_grid", rng))) == 1


@pytest.mark.parametrize(
    ("clues", "nodes", "unsolvable"),
    [(4, 20.9, 0.43), (5, 19.1, 0.42), (6, 14.8, 0.32), (7, 11.8, 0.24), (8, 9.2, 0.13)],
)
def test_trees_of_small_sudokus_shrink_with_their_clues(clues: int, nodes: float, unsolvable: float, rng) -> None:
    below = [[n for n in tree(draw_small_sudoku(rng, clues=(clues, clues))) if n.depth] for _ in range(200)]
    assert sum(map(len, below)) / 200 == pytest.approx(nodes, rel=0.2)
    assert sum(not n.solvable for t in below for n in t) / sum(map(len, below)) == pytest.approx(unsolvable, abs=0.09)


def test_the_way_of_a_logic_grid_names_the_clue_of_every_move() -> None:
    for item in build_items("logic_grid", 16, seed=3):
        assert item.path[0] == item.puzzle.initial
        assert item.path[-1] == item.parent
        assert len(item.path) == item.depth
        prompt, steps = checking_prompt(item), (*item.path, item.current)
        for before, after in pairwise(steps):
            name = item.puzzle.clue_between(before, after)
            assert name is None or after in item.puzzle.applied(item.puzzle.clues[name], before)
            assert (f"After clue {name}" if name else "By elimination") + f":\n{item.puzzle.render(after)}" in prompt
    assert build_items("sudoku", 8, size=4)[0].path == ()


def test_a_state_lies_in_one_of_the_bins_that_the_items_are_spread_over() -> None:
    for kind, bins in (("sudoku", 4), ("game24", 2)):
        stages = Counter(item.stage for item in build_items(kind, 8 * bins, size=4 if kind == "sudoku" else 0))
        assert stages == dict.fromkeys(range(1, bins + 1), 8)


def test_an_item_survives_json(rng) -> None:
    import json

    from tameshi.evaluation.finereason import item_from_json

    for kind, size, _ in DRAWN:
        item: Item = build_items(kind, 8, size=size)[3]
        again = item_from_json(json.loads(json.dumps(item.to_json())))
        assert again.to_json() == item.to_json()
        assert again.puzzle.solvable(again.current) is (again.status == "Solvable")
