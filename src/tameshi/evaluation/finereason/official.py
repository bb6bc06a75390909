"""The official items (DAMO-NLP-SG/FineReason, MIT), read from the user's copy of `data/*_states.json`; never shipped.

The files hold one JSON object a line. Every state is checked by the engine, and every label solved again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tameshi.evaluation.finereason.game24 import Game24
from tameshi.evaluation.finereason.graph_coloring import GraphColoring
from tameshi.evaluation.finereason.items import Item, Status
from tameshi.evaluation.finereason.logic_grid import LogicGrid
from tameshi.evaluation.finereason.puzzle import Puzzle, State
from tameshi.evaluation.finereason.sudoku import Sudoku

LONGEST = 50_000_000  # bytes; the largest official file has 2.1 MB


def read_official(path: str | Path) -> list[Item]:
    """The items of one of the four `*_states.json`, told apart by their content.

    Raises:
        ValueError: naming file, line and field of what is not as it should be: no such field, a state against the rules, a
            label that the solver contradicts, a puzzle without a solution, a state that is solved already.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"the file of puzzle states {file} does not exist")
    if file.stat().st_size > LONGEST:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes; a file of puzzle states may have {LONGEST:,}")
    return list(_items(file))


def _items(file: Path) -> Iterator[Item]:
    groups: dict[str, str] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            read = json.loads(line)
            inputs, outputs = read["inputs"], read["outputs"]
            puzzle = _puzzle(inputs, outputs)
            described = json.dumps(puzzle.to_json(), sort_keys=True, ensure_ascii=False)
            group = groups.setdefault(described, f"{file.stem}-puzzle-{len(groups)}")
            item = _item(f"{file.stem}-{number}", group, puzzle, inputs, _status(outputs["current_status"]))
        except KeyError as error:
            raise ValueError(f"{file}, line {number}, has no field {error}") from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{file}, line {number}: {error}") from error
        if puzzle.solvable(item.current) is not (item.status == "Solvable"):
            raise ValueError(
                f"{file}, line {number}: the state is labelled {item.status}, but the solver says otherwise"
            )
        if not puzzle.solvable(puzzle.initial) or puzzle.solved(item.current):
            fault = "the state is solved already" if puzzle.solved(item.current) else "the puzzle has no solution"
            raise ValueError(f"{file}, line {number}: {fault}, so that there is nothing to ask")
        yield item


def _puzzle(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Puzzle:
    if "graph" in inputs:
        return GraphColoring(inputs["graph"], inputs["chromatic_number"])  # so called there; often fewer suffice
    if "initial_state" in inputs:
        return Game24(inputs["initial_state"])
    if "clues" not in inputs:
        return Sudoku(inputs["initial"])
    header, *rows = outputs["solution"]
    # The types of the options stand in the tables only; sorted, so that their order does not give the solution away.
    columns = [[row[c] for row in rows] for c in range(len(header))]
    options = {
        h: column if c == 0 else sorted(column, key=str)
        for c, (h, column) in enumerate(zip(header, columns, strict=True))
    }
    clues = {name: clue["conditions"] for name, clue in inputs["clues"].items()}
    return LogicGrid(options, clues, {name: clue["text"] for name, clue in inputs["clues"].items()}, inputs["question"])


def _item(id_: str, group: str, puzzle: Puzzle, inputs: Mapping[str, Any], status: Status) -> Item:
    def state(saved: Any) -> State:
        return puzzle.table(saved) if isinstance(puzzle, LogicGrid) else puzzle.parse(json.dumps(saved))

    current, child = state(inputs["current"]), state(inputs["unsolvable_child"])
    if "initial_to_current" in inputs:
        path = [state(table) for table in inputs["initial_to_current"]]
        # A clue that placed nothing new left the table as it was; the state before is the last one that differs.
        before = [s for i, s in enumerate(path) if s != current and (i == 0 or s != path[i - 1])]
        parent = before[-1] if before else puzzle.initial
        grandparent = before[-2] if len(before) > 1 else None
        way = tuple(before) if before[:1] == [puzzle.initial] else (puzzle.initial, *before)
        return Item(id_, group, puzzle, current, parent, grandparent, child, status, len(before), way)
    grandparent = None if inputs["grandparent"] is None else state(inputs["grandparent"])
    depth = puzzle.open_cells(puzzle.initial) - puzzle.open_cells(current)
    return Item(id_, group, puzzle, current, state(inputs["parent"]), grandparent, child, status, depth)


def _status(word: str) -> Status:
    if word not in ("Solvable", "Unsolvable", "Colorable", "Uncolorable"):
        raise ValueError(f"a label must be Solvable or Unsolvable, got {word!r}")
    return "Solvable" if word in ("Solvable", "Colorable") else "Unsolvable"
