"""What a model is asked, in our own words: the rules, the state, the failed child, and the form of the last line."""

from __future__ import annotations

from itertools import pairwise

from tameshi.evaluation.finereason.game24 import Game24
from tameshi.evaluation.finereason.graph_coloring import GraphColoring
from tameshi.evaluation.finereason.items import Item, Status
from tameshi.evaluation.finereason.logic_grid import LogicGrid
from tameshi.evaluation.finereason.puzzle import Puzzle, State
from tameshi.evaluation.finereason.sudoku import Sudoku

HOW = "Think step by step, in words; do not write a program."


def checking_prompt(item: Item) -> str:
    """State checking: can the current state still reach a solution?"""
    show, (yes, no) = item.puzzle.render, words(item.puzzle)
    return "\n\n".join(
        [
            rules(item.puzzle),
            *way(item),
            f"Current state:\n{show(item.current)}",
            f"One move from here has been tried and leads to no solution:\n{show(item.unsolvable_child)}",
            f"Can the current state still be solved?\n(A) {yes}\n(B) {no}",
            f'{HOW} End with one line, "Answer: (A)" or "Answer: (B)".',
        ]
    )


def way(item: Item) -> list[str]:
    """The moves from the start, each with the clue that it applied; for logic grids, where a move is more than a cell."""
    puzzle = item.puzzle
    if not isinstance(puzzle, LogicGrid) or not item.path:
        return []
    lines = [f"Initial state:\n{puzzle.render(item.path[0])}"]
    for before, after in pairwise((*item.path, item.current)):
        name = puzzle.clue_between(before, after)
        made = f"After clue {name}" if name is not None else "By elimination"
        lines.append(f"{made}:\n{puzzle.render(after)}")
    return ["The moves that led to the current state:\n" + "\n".join(lines)]


def transition_prompt(item: Item) -> str:
    """State transition: which single move comes next, given the true labels of the way so far?"""
    show = item.puzzle.render

    def labelled(name: str, state: State, status: Status | None) -> str:
        assert status is not None
        yes, no = words(item.puzzle)
        return f"{name} ({yes if status == 'Solvable' else no}):\n{show(state)}"

    parts = [rules(item.puzzle), labelled("Initial state", item.puzzle.initial, item.label("initial"))]
    if item.grandparent is not None and not item.puzzle.same(item.grandparent, item.puzzle.initial):
        parts.append(labelled("Two moves ago", item.grandparent, item.label("grandparent")))
    if not item.puzzle.same(item.parent, item.puzzle.initial):
        parts.append(labelled("Previous state", item.parent, item.label("parent")))
    parts += [
        labelled("Current state", item.current, item.status),
        f"A move from the current state that leads to no solution:\n{show(item.unsolvable_child)}",
        "Make exactly one move. If the current state can be solved, go one move forward, and not to the one shown above. "
        "If it cannot, go back to the state before it.",
        f'{HOW} End with one line, "Next state: " and the state in the form used above.',
    ]
    return "\n\n".join(parts)


def solution_prompt(puzzle: Puzzle) -> str:
    """End to end: the initial state alone."""
    form = "one expression that uses all numbers" if isinstance(puzzle, Game24) else "the complete state in that form"
    start = f"Initial state:\n{puzzle.render(puzzle.initial)}"
    return "\n\n".join([rules(puzzle), start, f'Solve the puzzle. {HOW} End with one line, "Solution: " and {form}.'])


def words(puzzle: Puzzle) -> tuple[str, str]:
    """What the two labels are called."""
    return ("Colorable", "Uncolorable") if isinstance(puzzle, GraphColoring) else ("Solvable", "Unsolvable")


def rules(puzzle: Puzzle) -> str:
    """The rules of a puzzle, and how its states are written."""
    match puzzle:
        case Sudoku():
            n, b = puzzle.size, puzzle.box
            return (
                f"This is a Sudoku of {n} by {n} cells. Every row, every column and every {b} by {b} box must hold the digits "
                f"1 to {n}, each once. A state is a list of rows; 0 is an empty cell. A move writes one digit into one empty "
                "cell without breaking the rules, or takes back the last digit."
            )
        case GraphColoring():
            edges = ", ".join(f"{v}: {list(neighbours)}" for v, neighbours in enumerate(puzzle.graph))
            return (
                f"Colour the vertices of a graph with the colours 1 to {puzzle.max_colors} so that joined vertices differ. "
                f"Each vertex with those it is joined to: {edges}. A state lists the colour of every vertex in order; 0 is no "
                "colour yet. A move colours one vertex without breaking the rules, or takes back the last colour."
            )
        case Game24():
            return (
                "This is the Game of 24: combine the numbers with + - * / until one expression of value 24 is left, each number "
                "used once. A state is a list of expressions. A move takes two of them and puts their combination, in "
                "parentheses, in their place; the new expression comes first. Or it takes back the last combination."
            )
        case LogicGrid():
            options = "\n".join(f"{h}: {', '.join(map(str, o))}" for h, o in puzzle.categories.items())
            clues = "\n".join(f"{name}. {text}" for name, text in puzzle.texts.items())
            return (
                f"This is a logic grid. {puzzle.story}\n{options}\nClues:\n{clues}\nEvery option is used once. A state is a list "
                'of rows, the header first; "" is an empty cell. A move applies one clue: it places everything that the clue '
                "names so that the clue is true, or takes back the last clue."
            )
    raise TypeError(f"no rules are written for a {type(puzzle).__name__}")
