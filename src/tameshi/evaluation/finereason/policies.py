"""Policies that need no model and no search. What they reach, a benchmark score does not show.

Each answers in words, so that it passes through the same reader as a model.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from tameshi.evaluation.finereason.graph_coloring import GraphColoring
from tameshi.evaluation.finereason.items import Item
from tameshi.evaluation.finereason.puzzle import Puzzle, State
from tameshi.evaluation.finereason.sudoku import Sudoku

Policy: TypeAlias = Callable[[Item], str]


def always_solvable(item: Item) -> str:
    """State checking: the optimist."""
    return "Answer: (A)"


def always_unsolvable(item: Item) -> str:
    """State checking: the pessimist."""
    return "Answer: (B)"


def dead_cell(item: Item) -> str:
    """State checking: unsolvable if some open cell or vertex has no candidate left; one step of look-ahead, no search."""
    return "Answer: (B)" if has_dead_cell(item.puzzle, item.current) else "Answer: (A)"


def has_dead_cell(puzzle: Puzzle, state: State) -> bool:
    """Whether an open cell has no legal value; False for puzzles without cells of their own."""
    if isinstance(puzzle, Sudoku):
        empty = ((r, c) for r, row in enumerate(state) for c, digit in enumerate(row) if not digit)
        return any(not puzzle.candidates(state, r, c) for r, c in empty)
    if isinstance(puzzle, GraphColoring):
        return any(not color and not puzzle.candidates(state, v) for v, color in enumerate(state))
    return False


def parent_or_any_move(item: Item) -> str:
    """State transition: go back if the given label says unsolvable, else some legal move that is not the one shown.

    No look-ahead at all; which move it is, the item's id decides. By the official rule it cannot go wrong.
    """
    if item.status == "Unsolvable":
        return f"Next state: {item.puzzle.render(item.parent)}"
    moves = [m for m in item.puzzle.moves(item.current) if not item.puzzle.same(m, item.unsolvable_child)]
    return f"Next state: {item.puzzle.render(Random(item.id).choice(moves) if moves else item.parent)}"


def stay(item: Item) -> str:
    """State transition: copy the current state."""
    return f"Next state: {item.puzzle.render(item.current)}"


def copy_the_start(puzzle: Puzzle) -> str:
    """End to end: give back the initial state. All-zero, for graph colouring."""
    return f"Solution: {puzzle.render(puzzle.initial)}"


CHECKING: dict[str, Policy] = {
    "always solvable": always_solvable,
    "always unsolvable": always_unsolvable,
    "dead cell": dead_cell,
}
TRANSITION: dict[str, Policy] = {"parent, else any legal move": parent_or_any_move, "stay": stay}
