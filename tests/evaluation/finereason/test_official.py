"""Files in the official form, and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tameshi.evaluation.finereason import Item, Kind, build_items, checking_prompt, read_official
from tests.evaluation.finereason.test_engines import APPOINTMENTS


def official_line(item: Item) -> dict[str, Any]:
    """An item in the form of the official files."""
    saved, puzzle = item.to_json(), item.puzzle.to_json()
    states = {name: saved[name] for name in ("parent", "grandparent", "current", "unsolvable_child")}
    outputs: dict[str, Any] = {"current_status": item.status}
    match item.kind:
        case "sudoku":
            inputs = {"initial": puzzle["initial"], **states}
        case "graph_coloring":
            inputs = {"graph": puzzle["graph"], "chromatic_number": puzzle["max_colors"], **states}
        case "game24":
            inputs = {"initial_state": puzzle["initial"], **states}
        case _:
            header = list(puzzle["categories"])
            tables = {name: None if state is None else [header, *state] for name, state in states.items()}
            path = [
                [header, *map(list, item.puzzle.initial)],
                tables["grandparent"],
                tables["parent"],
                tables["current"],
            ]
            outputs["solution"] = [header, *item.puzzle.solution(item.puzzle.initial)]
            clues = {name: {"text": f"clue {name}", "conditions": text} for name, text in puzzle["clues"].items()}
            inputs = {"question": "Match.", "clues": clues, "current": tables["current"]}
            inputs["initial_to_current"] = [table for table in path if table]
            inputs["unsolvable_child"] = tables["unsolvable_child"]
    return {"inputs": inputs, "outputs": outputs}


@pytest.mark.parametrize("kind", ["sudoku", "graph_coloring", "game24", "logic_grid"])
def test_items_written_in_the_official_form_read_back(kind: Kind, tmp_path: Path) -> None:
    items = build_items(kind, 16, seed=1)
    file = tmp_path / "states.json"
    file.write_text("".join(json.dumps(official_line(item)) + "\n" for item in items), encoding="utf-8")
    read = read_official(file)
    assert [r.kind for r in read] == [kind] * 16
    assert [(r.status, r.current, r.unsolvable_child) for r in read] == [
        (i.status, i.current, i.unsolvable_child) for i in items
    ]
    assert [r.parent for r in read] == [i.parent for i in items]
    assert len({r.group for r in read}) == len({i.group for i in items})


def test_a_clue_that_placed_nothing_is_no_step_of_the_way(tmp_path: Path) -> None:
    header = ["times", "names", "ailments", "insurers"]
    start = [header, *map(list, APPOINTMENTS.initial)]
    one = [header, [9, "", "", ""], [10, "", "", ""], [11, "", "vertigo", ""], [12, "Billy", "", "Ambercare"]]
    two = [header, [9, "Terry", "", ""], *one[2:]]
    bad = [header, [9, "Terry", "back pain", ""], one[2], [11, "Paul", "vertigo", ""], one[4]]
    clues = {name: {"text": name, "conditions": clue.text} for name, clue in APPOINTMENTS.clues.items()}
    inputs = {"question": "", "clues": clues, "current": two, "unsolvable_child": bad}
    inputs["initial_to_current"] = [start, one, two, two]
    solution = [header, *map(list, APPOINTMENTS.solutions[0])]
    file = tmp_path / "gridpuzzle_states.json"
    file.write_text(json.dumps({"inputs": inputs, "outputs": {"solution": solution, "current_status": "Solvable"}}))
    (item,) = read_official(file)
    assert item.parent == tuple(map(tuple, one[1:]))
    assert item.grandparent == APPOINTMENTS.initial
    assert item.depth == 2
    assert item.path == (APPOINTMENTS.initial, item.parent)
    assert "After clue 8:" in checking_prompt(item)


def test_what_is_wrong_with_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "states.json"
    good = official_line(build_items("game24", 8)[0])

    def written(*lines: Any) -> Path:
        file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return file

    with pytest.raises(ValueError, match=r"nowhere\.json does not exist"):
        read_official(tmp_path / "nowhere.json")
    with pytest.raises(ValueError, match="line 2: Expecting"):
        read_official(written(good, "{"))
    with pytest.raises(ValueError, match="line 1, has no field 'outputs'"):
        read_official(written({"inputs": {}}))
    with pytest.raises(ValueError, match="line 1: a label must be"):
        read_official(written(good | {"outputs": {"current_status": "Perhaps"}}))
    lie = {"Solvable": "Unsolvable", "Unsolvable": "Solvable"}[good["outputs"]["current_status"]]
    with pytest.raises(ValueError, match="but the solver says otherwise"):
        read_official(written(good | {"outputs": {"current_status": lie}}))
    with pytest.raises(ValueError, match="holds more than whole numbers"):
        read_official(written(good | {"inputs": good["inputs"] | {"current": ["__import__('os')", "1"]}}))
    with pytest.raises(ValueError, match="line 1"):
        read_official(written([1, 2]))
    item = next(i for i in build_items("sudoku", 8, size=4) if i.status == "Solvable")
    solved, saved = official_line(item), item.puzzle.solution(item.puzzle.initial)
    solved["inputs"] |= {"current": saved, "parent": saved}
    with pytest.raises(ValueError, match="line 1: the state is solved already, so that there is nothing to ask"):
        read_official(written(solved))
    hopeless = {"graph": [[1, 2], [0, 2], [0, 1]], "chromatic_number": 2, "parent": [0, 0, 0], "current": [1, 0, 0]}
    hopeless |= {"grandparent": None, "unsolvable_child": [1, 2, 0]}
    with pytest.raises(ValueError, match="line 1: the puzzle has no solution"):
        read_official(written({"inputs": hopeless, "outputs": {"current_status": "Uncolorable"}}))


def test_a_hostile_clue_in_a_file_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    line = official_line(build_items("logic_grid", 8)[0])
    mark = tmp_path / "ran"
    line["inputs"]["clues"]["1"]["conditions"] = f"open({str(mark)!r}, 'w') == 1"
    file = tmp_path / "states.json"
    file.write_text(json.dumps(line))
    with pytest.raises(ValueError, match=r"line 1: a clue holds cells, constants"):
        read_official(file)
    assert not mark.exists()
