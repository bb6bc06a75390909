"""Puzzles drawn from a seeded generator, each with a solution (and, but for colouring and 24, exactly one)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Literal, TypeAlias

from tameshi.evaluation.finereason.clues import Value
from tameshi.evaluation.finereason.game24 import Game24
from tameshi.evaluation.finereason.graph_coloring import GraphColoring, chromatic_number
from tameshi.evaluation.finereason.logic_grid import LogicGrid, Table
from tameshi.evaluation.finereason.puzzle import Puzzle
from tameshi.evaluation.finereason.sudoku import Grid, Sudoku

Kind: TypeAlias = Literal["sudoku", "graph_coloring", "game24", "logic_grid"]
KINDS: tuple[Kind, ...] = ("sudoku", "graph_coloring", "game24", "logic_grid")


def draw_puzzle(kind: Kind, rng: Random, *, size: int = 0) -> Puzzle:
    """One solvable puzzle.

    Args:
        kind: which engine.
        rng: decides everything.
        size: Sudoku's side, 4 or 9 (9 unless given); the number of vertices, 15 to 25 unless given; not used by the others.

    Raises:
        ValueError: an unknown kind, or a size that is not drawn.
    """
    match kind:
        case "sudoku":
            if size not in (0, 4, 9):
                raise ValueError(f"Sudokus are drawn at side 4 or 9, got {size}")
            return draw_small_sudoku(rng) if size == 4 else draw_sudoku(rng)
        case "graph_coloring":
            if size and not 4 <= size <= 40:
                raise ValueError(f"graphs are drawn with 4 to 40 vertices, got {size}")
            return draw_coloring(rng, vertices=size or rng.randint(15, 25))
        case "game24":
            return draw_game24(rng)
        case "logic_grid":
            return draw_logic_grid(rng)
    raise ValueError(f"the puzzle must be one of {', '.join(KINDS)}, got {kind!r}")


def draw_small_sudoku(rng: Random, *, clues: tuple[int, int] = (5, 7)) -> Sudoku:
    """A 4x4 Sudoku with one solution: one of the 288 grids with all but 5 to 7 cells blanked."""
    while True:
        grid = [list(row) for row in rng.choice(small_grids())]
        for cell in rng.sample(range(16), 16 - rng.randint(*clues)):
            grid[cell // 4][cell % 4] = 0
        puzzle = Sudoku(grid)
        if puzzle.unique():
            return puzzle


@cache
def small_grids() -> tuple[Grid, ...]:
    """All 288 full grids of side 4."""
    return tuple(Sudoku([[0] * 4] * 4).solutions(most=1_000))


def draw_sudoku(rng: Random, *, blanks: tuple[int, int] = (45, 49)) -> Sudoku:
    """A 9x9 Sudoku with one solution: a full grid shuffled by the symmetries of the game, then blanked cell by cell.

    The official puzzles have 45 to 49 empty cells too.
    """
    bands = [rng.sample(range(3), 3) for _ in range(8)]
    digits = rng.sample(range(1, 10), 9)
    rows = [3 * band + bands[1 + band][i] for band in bands[0] for i in range(3)]
    columns = [3 * band + bands[5 + band][i] for band in bands[4] for i in range(3)]
    grid = [[digits[(3 * (r % 3) + r // 3 + c) % 9] for c in columns] for r in rows]
    if rng.random() < 0.5:
        grid = [list(column) for column in zip(*grid, strict=True)]
    wanted = rng.randint(*blanks)
    for cell in rng.sample(range(81), 81):
        r, c = divmod(cell, 9)
        digit, grid[r][c] = grid[r][c], 0
        if not Sudoku(grid).unique():
            grid[r][c] = digit
        elif sum(row.count(0) for row in grid) == wanted:
            return Sudoku(grid)
    return draw_sudoku(rng, blanks=blanks)  # this grid would not give up so many cells


def draw_coloring(rng: Random, *, vertices: int, density: float = 0.5) -> GraphColoring:
    """A random graph with as many colours as it needs, and no more."""
    graph: list[list[int]] = [[] for _ in range(vertices)]
    for v in range(vertices):
        for w in range(v):
            if rng.random() < density:
                graph[v].append(w)
                graph[w].append(v)
    return GraphColoring(graph, chromatic_number(graph))


def draw_game24(rng: Random) -> Game24:
    """Four numbers from 1 to 13 that can make 24, in ascending order."""
    while True:
        puzzle = Game24(sorted(rng.randint(1, 13) for _ in range(4)))
        if puzzle.solvable(puzzle.initial):
            return puzzle


STOCK: dict[str, tuple[str, ...]] = {
    "names": ("Aki", "Ben", "Chloe", "Dario", "Emi", "Farid", "Goro", "Hana"),
    "crafts": ("baking", "carving", "dyeing", "glazing", "pottery", "quilting", "weaving"),
    "towns": ("Arles", "Bergen", "Cork", "Delft", "Faro", "Gdansk", "Kobe", "Lucca"),
    "instruments": ("bassoon", "cello", "flute", "harp", "lute", "oboe", "viola"),
    "colours": ("amber", "blue", "crimson", "green", "indigo", "ochre", "violet"),
    "meals": ("curry", "dumplings", "lentils", "noodles", "paella", "ramen", "risotto"),
}


def draw_logic_grid(rng: Random, *, rows: int = 4, columns: int = 4) -> LogicGrid:
    """A logic grid with one solution: a random table, and clues that are true of it until no other table fits."""
    start, step = rng.randint(1, 12), rng.choice([1, 2, 5])
    ordered: tuple[Value, ...] = tuple(start + step * i for i in range(rows))
    categories: dict[str, tuple[Value, ...]] = {rng.choice(["hours", "days", "prices"]): ordered}
    for header in rng.sample(sorted(STOCK), columns - 1):
        categories[header] = tuple(sorted(rng.sample(STOCK[header], rows)))
    shuffled = [ordered, *(tuple(rng.sample(o, rows)) for o in list(categories.values())[1:])]
    table: Table = tuple(zip(*shuffled, strict=True))
    clues = _true_clues(table, tuple(categories), rng)
    chosen = dict(next(clues) for _ in range(7))
    left = _numbered(categories, chosen).solutions
    while len(left) > 1:
        expression, text = next(clues)
        alone = LogicGrid(categories, {"1": expression})
        kept = tuple(t for t in left if alone.fits(t))
        if len(kept) < len(left):  # a clue that tells nothing new is left out
            left, chosen[expression] = kept, text
    return _numbered(categories, chosen)


def _numbered(categories: dict[str, tuple[Value, ...]], clues: dict[str, str]) -> LogicGrid:
    names = [str(i) for i in range(1, len(clues) + 1)]
    story = f"Match {' and '.join(list(categories)[1:])} to {next(iter(categories))}; no option is used twice."
    return LogicGrid(
        categories, dict(zip(names, clues, strict=True)), dict(zip(names, clues.values(), strict=True)), story
    )


def _true_clues(table: Table, headers: tuple[str, ...], rng: Random) -> Iterator[tuple[str, str]]:
    """Clues that hold of a table, as (expression, words), without end."""

    def cell(value: Value, header: str) -> str:
        return f"T[r({value!r})][c({header!r})]"

    def two_rows() -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        i, j = rng.sample(range(len(table)), 2)
        return table[i], table[j]

    def equal() -> tuple[str, str]:
        row = rng.choice(table)
        a, b = rng.sample(range(len(headers)), 2)
        return f"{cell(row[a], headers[b])} == {row[b]!r}", f"The row of {row[a]} has {row[b]} under {headers[b]}."

    def unequal() -> tuple[str, str]:
        one, other = two_rows()
        a, b = rng.sample(range(len(headers)), 2)
        return f"{cell(one[a], headers[b])} != {other[b]!r}", f"{one[a]} does not go with {other[b]}."

    def before() -> tuple[str, str]:
        low, high = sorted(two_rows(), key=lambda row: float(row[0]))
        a, b = (rng.randrange(1, len(headers)) for _ in range(2))
        less = f"{cell(low[a], headers[0])} < {cell(high[b], headers[0])}"
        return less, f"{low[a]} has fewer {headers[0]} than {high[b]}."

    def offset() -> tuple[str, str]:
        low, high = sorted(two_rows(), key=lambda row: float(row[0]))
        gap = int(float(high[0]) - float(low[0]))
        a, b = (rng.randrange(1, len(headers)) for _ in range(2))
        equals = f"{cell(low[a], headers[0])} == {cell(high[b], headers[0])} - {gap}"
        return equals, f"{low[a]} has exactly {gap} fewer {headers[0]} than {high[b]}."

    def either() -> tuple[str, str]:
        true, false = two_rows()
        a, b, c = rng.sample(range(len(headers)), 3)
        sides = [(headers[b], true[b]), (headers[c], false[c])]
        rng.shuffle(sides)
        (h1, v1), (h2, v2) = sides
        one_of = f"({cell(true[a], h1)} == {v1!r} or {cell(true[a], h2)} == {v2!r})"
        return f"{one_of} and ({cell(v1, h2)} != {v2!r})", f"{true[a]} goes with either {v1} or {v2}, which differ."

    templates = [
        equal,
        unequal,
        unequal,
        before,
        offset,
        either,
        either,
    ]  # outright facts are rare, as in the official set
    while True:
        yield rng.choice(templates)()
