"""Logic grids: match the options of several categories row by row, from clues.

A state is a table as a tuple of rows without the header: the first column is given, every other cell holds an option of its
column or "". A move applies one clue: all values it names are placed so that it becomes true.

A state is solvable if its filled cells agree with some table that satisfies all clues; all such tables are found once per
puzzle, column by column, each clue being asked as soon as the columns that it speaks of are complete.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import permutations, product
from math import prod
from typing import Any, ClassVar, TypeAlias

from tameshi.evaluation.finereason.clues import Clue, Lookup, Value, parse_clue
from tameshi.evaluation.finereason.puzzle import TreeTooLarge, frozen, thawed

Table: TypeAlias = tuple[tuple[Value, ...], ...]


class LogicGrid:
    """One logic grid.

    Args:
        categories: header -> options, as many in each; the first category is the given first column, in this order.
        clues: name -> expression (see `clues`).
        texts: name -> the clue in words, for prompts; the expression itself where there is none.
        story: what the puzzle is about, for prompts.

    Raises:
        UnsafeClueError: a clue that is refused.
        ValueError: categories of different length, an option twice or of another kind than text and number, a clue that
            names an unknown header.
    """

    kind: ClassVar[str] = "logic_grid"

    def __init__(
        self,
        categories: Mapping[str, Sequence[Value]],
        clues: Mapping[str, str],
        texts: Mapping[str, str] | None = None,
        story: str = "",
    ) -> None:
        for header, options in categories.items():
            if not isinstance(options, list | tuple) or not all(type(o) in (int, float, str) for o in options):
                raise ValueError(f"the options of {header} must be a list of texts and numbers")
        self.categories = {header: tuple(options) for header, options in categories.items()}
        self.headers = tuple(self.categories)
        self._number: dict[Value, int] = {header: c for c, header in enumerate(self.headers)}
        if len({len(o) for o in self.categories.values()}) != 1 or len(self.headers) < 2:
            raise ValueError("a logic grid has two or more categories with as many options in each")
        for header, options in self.categories.items():
            if len(set(options)) < len(options) or "" in options:
                raise ValueError(f"the options of {header} must differ, and none may be empty")
        # An option that two categories share belongs to the first of them, for clues too.
        self.column_of = {o: c for c, h in reversed([*enumerate(self.headers)]) for o in self.categories[h]}
        self.clues = {str(name): parse_clue(text) for name, text in clues.items()}
        for name, clue in self.clues.items():
            unknown = [header for header in clue.headers if header not in self.categories]
            if unknown:
                raise ValueError(
                    f"clue {name} names the column {unknown[0]!r}, but there are {', '.join(self.headers)}"
                )
        self._named = tuple(dict.fromkeys(v for clue in self.clues.values() for v in clue.named))
        self.texts = dict(texts) if texts else {name: clue.text for name, clue in self.clues.items()}
        self.story = story
        blank = ("",) * (len(self.headers) - 1)
        self.initial: Table = tuple((option, *blank) for option in self.categories[self.headers[0]])

    def children(self, state: Table) -> list[Table]:
        return self.moves(state)

    def moves(self, state: Table) -> list[Table]:
        """Every table that comes of applying one clue, each once; clues whose values are all placed give none.

        Options that no clue names are placed last, one by one: they follow by elimination.
        """
        found = dict.fromkeys(table for clue in self.clues.values() for table in self.applied(clue, state))
        if not found and not self._waiting(self._named, state):
            found = dict.fromkeys(t for o in self._waiting(self.column_of, state)[:1] for t in self._placed([o], state))
        return list(found)

    def applied(self, clue: Clue, state: Table) -> Iterator[Table]:
        """The tables in which the values that a clue names are placed and the clue is true.

        A column holds an option once: the official move check lacks this test, ours has it.
        """
        waiting = self._waiting(clue.named, state)
        if waiting:
            yield from (table for table in self._placed(waiting, state) if clue.holds(self._lookup(table)))

    def clue_between(self, previous: Table, following: Table) -> str | None:
        """The name of the first clue that makes a move; None for a move by elimination, or none at all."""
        return next((name for name, clue in self.clues.items() if following in self.applied(clue, previous)), None)

    def objection(self, previous: Table, following: Table) -> str | None:
        if following in self.moves(previous):
            return None
        return "multiple moves" if self.extends(following, previous) and following != previous else "invalid move"

    def solvable(self, state: Table) -> bool:
        return any(self.extends(solution, state) for solution in self.solutions)

    def solution(self, state: Table) -> Table | None:
        return next((s for s in self.solutions if self.extends(s, state)), None)

    def solved(self, state: Table) -> bool:
        return state in self.solutions

    def fits(self, table: Table) -> bool:
        """Whether every clue is true of a table."""
        lookup = self._lookup(table)
        return all(clue.holds(lookup) for clue in self.clues.values())

    def extends(self, state: Table, earlier: Table) -> bool:
        pairs = (pair for rows in zip(state, earlier, strict=True) for pair in zip(*rows, strict=True))
        return all(before in ("", now) for now, before in pairs)

    def same(self, one: Table, other: Table) -> bool:
        return one == other

    def canonical(self, state: Table) -> Hashable:
        return tuple(clue.text for clue in self.clues.values()), state

    def open_cells(self, state: Table) -> int:
        return sum(cell == "" for row in state for cell in row)

    @cached_property
    def solutions(self) -> tuple[Table, ...]:
        """All tables that satisfy every clue.

        Raises:
            TreeTooLarge: more than two million partial tables.
        """
        last = {name: self._last_column(clue) for name, clue in self.clues.items()}
        due = [[self.clues[n] for n in self.clues if last[n] == c] for c in range(len(self.headers))]
        given = (tuple(row[0] for row in self.initial),) + (("",) * len(self.initial),) * (len(self.headers) - 1)
        partial = [given] if all(clue.holds(self._lookup(self.initial)) for clue in due[0]) else []
        tried = 0
        for c in range(1, len(self.headers)):
            extended = []
            for columns in partial:
                rows = self._rows(columns)
                for order in permutations(self.categories[self.headers[c]]):
                    tried += 1
                    if tried > 2_000_000:
                        raise TreeTooLarge("a logic grid needs more than 2,000,000 partial tables; use a smaller one")
                    filled = (*columns[:c], order, *columns[c + 1 :])
                    lookup = self._reader(filled, rows | self._rows((order,), c))
                    if all(clue.holds(lookup) for clue in due[c]):
                        extended.append(filled)
            partial = extended
        return tuple(tuple(zip(*columns, strict=True)) for columns in partial)

    def render(self, state: Table) -> str:
        return json.dumps([list(self.headers), *thawed(state)], ensure_ascii=False)

    def parse(self, text: str) -> Table:
        """A list of rows with the header first, the first one in the text."""
        match = re.search(r"\[\s*\[.*?\]\s*\]", text[:20_000], re.DOTALL)
        try:
            return self.table(ast.literal_eval(match[0] if match else ""))
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError("a table is written as a list of rows, the header first, but there is none") from error

    def table(self, rows: Any) -> Table:
        """Check rows (the header first) and take them as a state.

        Raises:
            ValueError: naming the place of what does not fit.
        """
        if not isinstance(rows, list | tuple) or len(rows) != len(self.initial) + 1:
            raise ValueError(f"a table is a list of the header and {len(self.initial)} rows")
        if not all(isinstance(row, list | tuple) for row in rows):
            raise ValueError("every row of a table is a list")
        if [str(h) for h in rows[0]] != list(self.headers):
            raise ValueError(f"the header must be {', '.join(self.headers)}")
        for r, row in enumerate(rows[1:]):
            if len(row) != len(self.headers):
                raise ValueError(f"row {r + 1} must have {len(self.headers)} cells, got {len(row)}")
            for c, cell in enumerate(row):
                given = row[0] == self.initial[r][0] if c == 0 else True
                if (
                    not given
                    or isinstance(cell, list | dict | bool)
                    or cell not in ("", *self.categories[self.headers[c]])
                ):
                    raise ValueError(f"row {r + 1}, column {self.headers[c]} may not hold {str(cell)[:40]!r}")
        for c, header in enumerate(self.headers):
            filled = [row[c] for row in rows[1:] if row[c] != ""]
            if len(set(filled)) < len(filled):
                raise ValueError(f"the column {header} holds an option twice")
        table: Table = frozen(rows[1:])
        return table

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "categories": {header: list(options) for header, options in self.categories.items()},
            "clues": {name: clue.text for name, clue in self.clues.items()},
            "texts": self.texts,
            "story": self.story,
        }

    def _waiting(self, options: Iterable[Value], state: Table) -> list[Value]:
        """Those of the options that have no place yet."""
        placed = self._rows(tuple(zip(*state, strict=True)))
        return [o for o in options if o in self.column_of and o not in placed]

    def _placed(self, options: Sequence[Value], state: Table) -> Iterator[Table]:
        """All ways to put options into empty cells of their columns.

        Raises:
            TreeTooLarge: more than 200,000 ways; a clue of the official set has at most a few hundred.
        """
        rows = [[r for r, row in enumerate(state) if row[self.column_of[o]] == ""] for o in options]
        if prod(map(len, rows)) > 200_000:
            raise TreeTooLarge(f"one clue places {len(options)} options in more than 200,000 ways; use a smaller grid")
        for chosen in product(*rows):
            cells = {(r, self.column_of[o]): o for r, o in zip(chosen, options, strict=True)}
            if len(cells) == len(options):
                yield tuple(tuple(cells.get((r, c), v) for c, v in enumerate(row)) for r, row in enumerate(state))

    def _lookup(self, table: Table) -> Lookup:
        columns = tuple(zip(*table, strict=True))
        return self._reader(columns, self._rows(columns))

    def _reader(self, columns: tuple[tuple[Value, ...], ...], rows: Mapping[Value, int]) -> Lookup:
        """(value, header) -> cell."""
        number = self._number
        return lambda value, header: columns[number[header]][rows[value]] if value in rows else ""

    def _rows(self, columns: tuple[tuple[Value, ...], ...], first: int = 0) -> dict[Value, int]:
        """The row of every option that stands in its own column; `first` is the number of the first column given."""
        own = self.column_of
        return {o: r for c, column in enumerate(columns, first) for r, o in enumerate(column) if own.get(o) == c}

    def _last_column(self, clue: Clue) -> int:
        named = [self.column_of[v] for v in clue.named if v in self.column_of]
        return max(named + [self._number[h] for h in clue.headers], default=0)
