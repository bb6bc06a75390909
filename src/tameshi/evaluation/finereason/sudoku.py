"""Sudoku of side b*b, solved exactly with bit masks.

A state is a tuple of rows of digits, 0 where a cell is empty. The solver always takes the cell with the fewest candidates
left, so that 9x9 states of the usual kind take a fraction of a millisecond.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, TypeAlias

from tameshi.evaluation.finereason.puzzle import State, TreeTooLarge, frozen, thawed

Grid: TypeAlias = tuple[tuple[int, ...], ...]

MOST_STEPS = 1_000_000


class Sudoku:
    """One Sudoku.

    Args:
        initial: rows of digits, 0 for an empty cell; 4x4 or 9x9 (any b*b up to 16 is taken).

    Raises:
        ValueError: not a square of side b*b, a digit out of range, or a digit twice in a row, column or box.
    """

    kind: ClassVar[str] = "sudoku"

    def __init__(self, initial: Sequence[Sequence[int]]) -> None:
        if not isinstance(initial, list | tuple):
            raise ValueError(f"a grid is a list of rows, got {type(initial).__name__}")
        self.size = len(initial)
        self.box = math.isqrt(self.size)
        if self.box * self.box != self.size or not 4 <= self.size <= 16:
            raise ValueError(f"a Sudoku's side must be 4, 9 or 16, got {self.size} rows")
        self.initial: Grid = self._checked(initial)
        clash = self._clash(self.initial)
        if clash:
            raise ValueError(f"the initial grid breaks the rules: {clash}")

    def children(self, state: Grid) -> list[Grid]:
        """Every legal digit in the first empty cell, row by row."""
        cell = next(((r, c) for r, row in enumerate(state) for c, digit in enumerate(row) if not digit), None)
        return [] if cell is None else [_placed(state, *cell, d) for d in self.candidates(state, *cell)]

    def moves(self, state: Grid) -> list[Grid]:
        """Every legal digit in every empty cell."""
        empty = [(r, c) for r, row in enumerate(state) for c, digit in enumerate(row) if not digit]
        return [_placed(state, r, c, d) for r, c in empty for d in self.candidates(state, r, c)]

    def candidates(self, state: Grid, r: int, c: int) -> list[int]:
        """Digits that neither row, column nor box of a cell holds."""
        b = self.box
        top, left = r // b * b, c // b * b
        taken = {*state[r], *(row[c] for row in state)}
        for row in state[top : top + b]:
            taken.update(row[left : left + b])
        return [digit for digit in range(1, self.size + 1) if digit not in taken]

    def objection(self, previous: Grid, following: Grid) -> str | None:
        cells = [(r, c) for r in range(self.size) for c in range(self.size) if previous[r][c] != following[r][c]]
        if len(cells) > 1:
            return "multiple moves"
        if not cells:
            return "invalid move"
        r, c = cells[0]
        fits = previous[r][c] == 0 and following[r][c] in self.candidates(previous, r, c)
        return None if fits else "invalid move"

    def solvable(self, state: Grid) -> bool:
        return self.solution(state) is not None

    def solution(self, state: Grid) -> Grid | None:
        found = self._solve(state, most=1)
        return found[0] if found else None

    def unique(self) -> bool:
        """Whether the initial grid has exactly one solution."""
        return len(self.solutions(most=2)) == 1

    def solutions(self, *, most: int) -> list[Grid]:
        """Up to `most` solutions of the initial grid."""
        return self._solve(self.initial, most=most)

    def solved(self, state: Grid) -> bool:
        return self.open_cells(state) == 0 and self._clash(state) is None

    def extends(self, state: Grid, earlier: Grid) -> bool:
        pairs = (pair for rows in zip(state, earlier, strict=True) for pair in zip(*rows, strict=True))
        return all(before in (0, now) for now, before in pairs)

    def same(self, one: Grid, other: Grid) -> bool:
        return one == other

    def canonical(self, state: Grid) -> Hashable:
        return state

    def open_cells(self, state: Grid) -> int:
        return sum(row.count(0) for row in state)

    def render(self, state: Grid) -> str:
        return str(thawed(state))

    def parse(self, text: str) -> Grid:
        """A list of rows, `[[1, 0, ...], ...]`, the first one in the text."""
        match = re.search(r"\[\s*\[[\d\s,\[\]]*\]\s*\]", text)
        if not match or len(match[0]) > 4_000:
            raise ValueError("a grid is written as a list of rows, [[1, 0, ...], ...], but there is none")
        try:
            rows = ast.literal_eval(match[0])
        except (SyntaxError, ValueError) as error:
            raise ValueError("the list of rows is not well formed") from error
        return self._checked(rows)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "initial": thawed(self.initial)}

    def _checked(self, rows: Any) -> Grid:
        if len(rows) != self.size:
            raise ValueError(f"the grid must have {self.size} rows, got {len(rows)}")
        for r, row in enumerate(rows):
            if not isinstance(row, list | tuple) or len(row) != self.size:
                raise ValueError(f"row {r + 1} must have {self.size} cells")
            for c, digit in enumerate(row):
                if type(digit) is not int or not 0 <= digit <= self.size:
                    raise ValueError(f"row {r + 1}, column {c + 1} must hold 0 to {self.size}, got {digit!r}")
        grid: Grid = frozen(rows)
        return grid

    def _clash(self, grid: State) -> str | None:
        """The first unit that holds a digit twice, in words."""
        b, n = self.box, self.size
        units = [(f"row {i + 1}", grid[i]) for i in range(n)]
        units += [(f"column {i + 1}", tuple(row[i] for row in grid)) for i in range(n)]
        units += [
            (f"box {i + 1}", tuple(grid[i // b * b + j // b][i % b * b + j % b] for j in range(n))) for i in range(n)
        ]
        for name, unit in units:
            digits = [digit for digit in unit if digit]
            if len(set(digits)) < len(digits):
                return f"{name} holds a digit twice"
        return None

    def _solve(self, state: Grid, *, most: int) -> list[Grid]:
        """Up to `most` solutions. Masks hold the digits still free in each row, column and box.

        Raises:
            TreeTooLarge: more than `MOST_STEPS` steps; a 9x9 grid of the usual kind takes a few hundred.
        """
        n, b = self.size, self.box
        full = (1 << n) - 1
        rows, columns, boxes = [full] * n, [full] * n, [full] * n
        empty = []
        for r in range(n):
            for c in range(n):
                digit = state[r][c]
                if not digit:
                    empty.append((r, c, r // b * b + c // b))
                    continue
                bit = 1 << digit - 1
                if not rows[r] & columns[c] & boxes[r // b * b + c // b] & bit:
                    return []
                rows[r] ^= bit
                columns[c] ^= bit
                boxes[r // b * b + c // b] ^= bit
        grid = [list(row) for row in state]
        found: list[Grid] = []
        steps = 0

        def search() -> bool:
            nonlocal steps
            steps += 1
            if steps > MOST_STEPS:
                raise TreeTooLarge(f"the Sudoku takes more than {MOST_STEPS:,} steps; use a smaller or a fuller one")
            if not empty:
                found.append(frozen(grid))
                return len(found) >= most
            fewest, best, options = n + 1, 0, 0
            for i, (r, c, x) in enumerate(empty):
                free = rows[r] & columns[c] & boxes[x]
                count = free.bit_count()
                if count < fewest:
                    fewest, best, options = count, i, free
                    if count < 2:
                        break
            if not options:
                return False
            r, c, x = empty[best]
            empty[best] = empty[-1]
            empty.pop()
            while options:
                bit = options & -options
                options ^= bit
                rows[r] ^= bit
                columns[c] ^= bit
                boxes[x] ^= bit
                grid[r][c] = bit.bit_length()
                if search():
                    return True
                rows[r] ^= bit
                columns[c] ^= bit
                boxes[x] ^= bit
            grid[r][c] = 0
            empty.append((r, c, x))
            empty[best], empty[-1] = empty[-1], empty[best]
            return False

        search()
        return found


def _placed(state: Grid, r: int, c: int, digit: int) -> Grid:
    row = (*state[r][:c], digit, *state[r][c + 1 :])
    return (*state[:r], row, *state[r + 1 :])
