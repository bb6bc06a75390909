"""Labels against brute force, on drawn items."""

from __future__ import annotations

from collections import Counter

import pytest

from tameshi.evaluation.finereason import Item, Kind, build_items, draw_puzzle, tree
from tests.evaluation.finereason.brute import can_be_solved

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


@pytest.mark.parametrize("kind", ["sudoku", "game24", "logic_grid"])
def test_a_state_is_solvable_exactly_if_a_child_is_and_exactly_if_a_move_is(kind: Kind) -> None:
    for item in build_items(kind, 24, seed=2, size=4 if kind == "sudoku" else 0):
        puzzle, solvable = item.puzzle, item.status == "Solvable"
        assert any(map(puzzle.solvable, puzzle.children(item.current))) is solvable
        assert any(map(puzzle.solvable, puzzle.moves(item.current))) is solvable


def test_labels_carried_back_through_a_tree_are_those_of_the_solver(rng) -> None:
    for _ in range(20):
        puzzle = draw_puzzle("sudoku", rng, size=4)
        assert all(puzzle.solvable(node.state) is node.solvable for node in tree(puzzle))


def test_an_item_survives_json(rng) -> None:
    import json

    from tameshi.evaluation.finereason import item_from_json

    for kind, size, _ in DRAWN:
        item: Item = build_items(kind, 8, size=size)[3]
        again = item_from_json(json.loads(json.dumps(item.to_json())))
        assert again.to_json() == item.to_json()
        assert again.puzzle.solvable(again.current) is (again.status == "Solvable")
