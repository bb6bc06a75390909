"""Independent answers to "can this state be solved?": slow, simple, and sharing no code with the engines."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations, product
from typing import Any

from tameshi.evaluation.finereason import Game24, GraphColoring, LogicGrid, Puzzle, Sudoku


def can_be_solved(puzzle: Puzzle, state: Any) -> bool:
    """By trying everything."""
    match puzzle:
        case Sudoku(size=4):
            return any(all(s in (0, g) for s, g in zip(sum(state, ()), grid, strict=True)) for grid in small_grids())
        case Sudoku():
            return covers(state)
        case GraphColoring():
            return colors(puzzle.graph, puzzle.max_colors, list(state))
        case Game24():
            return combines(tuple(sorted(map(fraction, state))))
        case LogicGrid():
            return any(
                all(
                    s in ("", t) for row, full in zip(state, table, strict=True) for s, t in zip(row, full, strict=True)
                )
                for table in grids(puzzle)
            )
    raise TypeError(type(puzzle))


@cache
def small_grids() -> tuple[tuple[int, ...], ...]:
    """All 4x4 grids, out of 24^4 ways to write four permutations under each other."""
    rows = list(permutations(range(1, 5)))
    found = []
    for four in product(rows, repeat=4):
        columns = all(len(set(column)) == 4 for column in zip(*four, strict=True))
        if columns and all(
            len({four[r][c], four[r][c + 1], four[r + 1][c], four[r + 1][c + 1]}) == 4 for r in (0, 2) for c in (0, 2)
        ):
            found.append(sum(four, ()))
    return tuple(found)


def covers(state: Any) -> bool:
    """9x9 Sudoku as an exact cover, by Knuth's algorithm X on dictionaries."""
    rows = {
        (r, c, d): [("cell", r, c), ("row", r, d), ("column", c, d), ("box", r // 3 * 3 + c // 3, d)]
        for r in range(9)
        for c in range(9)
        for d in range(1, 10)
    }
    columns: dict[Any, set[Any]] = {}
    for name, covered in rows.items():
        for constraint in covered:
            columns.setdefault(constraint, set()).add(name)

    def select(name: Any) -> list[Any]:
        taken = []
        for constraint in rows[name]:
            for other in columns[constraint]:
                for elsewhere in rows[other]:
                    if elsewhere != constraint:
                        columns[elsewhere].discard(other)
            taken.append(columns.pop(constraint))
        return taken

    def undo(name: Any, taken: list[Any]) -> None:
        for constraint in reversed(rows[name]):
            columns[constraint] = taken.pop()
            for other in columns[constraint]:
                for elsewhere in rows[other]:
                    if elsewhere != constraint:
                        columns[elsewhere].add(other)

    def search() -> bool:
        if not columns:
            return True
        fewest = min(columns, key=lambda constraint: len(columns[constraint]))
        for name in sorted(columns[fewest]):
            taken = select(name)
            done = search()
            undo(name, taken)
            if done:
                return True
        return False

    for r in range(9):
        for c in range(9):
            if state[r][c]:
                name = (r, c, state[r][c])
                if any(constraint not in columns for constraint in rows[name]):
                    return False
                select(name)
    return search()


def colors(graph: Any, k: int, state: list[int], v: int = 0) -> bool:
    """Vertices in their order, every colour in use and one that is not: unused colours differ in name only."""
    while v < len(state) and state[v]:
        v += 1
    if v == len(state):
        return all(state[v] != state[w] for v in range(len(state)) for w in graph[v])
    for color in range(1, min(k, max(state) + 1) + 1):
        if all(state[w] != color for w in graph[v]):
            state[v] = color
            done = colors(graph, k, state, v + 1)
            state[v] = 0
            if done:
                return True
    return False


def fraction(expression: str) -> Fraction:
    """Value of an expression of our own generator."""
    return eval(re.sub(r"(\d+)", r"F(\1)", expression), {"F": Fraction})  # digits and signs, from our own generator


@cache
def combines(numbers: tuple[Any, ...]) -> bool:
    """Every pair, every operation, until one number is left."""
    if len(numbers) == 1:
        return numbers[0] == 24
    for i, j in combinations(range(len(numbers)), 2):
        a, b = Fraction(numbers[i]), Fraction(numbers[j])
        rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
        results = {a + b, a - b, b - a, a * b} | ({a / b} if b else set()) | ({b / a} if a else set())
        if any(combines(tuple(sorted([*rest, result]))) for result in results):
            return True
    return False


_TABLES: dict[int, tuple[Any, list[Any]]] = {}


def grids(puzzle: LogicGrid) -> list[Any]:
    """All tables that satisfy all clues, by Python's own evaluation of clues that our own generator wrote."""
    if id(puzzle) not in _TABLES:
        code = compile(" and ".join(f"({clue.text})" for clue in puzzle.clues.values()), "clues", "eval")
        number = {header: c for c, header in enumerate(puzzle.headers)}
        first, *rest = puzzle.categories.values()
        found = []
        for orders in product(*(permutations(options) for options in rest)):
            table = list(zip(first, *orders, strict=True))
            row = {value: r for r, values in enumerate(table) for value in values}
            if eval(code, {"T": table, "r": row.get, "c": number.get}):
                found.append(table)
        _TABLES[id(puzzle)] = (puzzle, found)  # the puzzle is kept, so that its id stays its own
    return _TABLES[id(puzzle)][1]
