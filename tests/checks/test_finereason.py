"""The check of FineReason, the proof that it can fail, and its rules on endpoints that play known parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tameshi.bench import Result, run_check
from tameshi.bench.shelf import stand
from tameshi.bench.store import Store
from tameshi.checks.finereason import by_open_cells, drawn, no_look_ahead
from tameshi.evaluation import finereason as fr
from tameshi.evaluation.accounting import TooManyCalls
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.finereason.policies import parent_or_any_move
from tameshi.evaluation.messages import Message
from tameshi.specimens import small_sudoku
from tameshi.specimens.endpoint import Endpoint


def run(tmp_path: Path, **options: Any) -> Result:
    with Store(tmp_path / "runs.sqlite") as store:
        result = run_check("finereason", store=store, fresh=True, **options)
    assert not result.errors, result.errors
    return result


def outcomes(result: Result) -> dict[str, str]:
    return {claim: verdict.outcome for claim, verdict in result.verdicts.items()}


def test_the_audit_finds_no_wrong_label_and_a_policy_without_look_ahead_at_full_marks(tmp_path: Path) -> None:
    result = run(tmp_path, only="states", items=24)
    audited = result.rows.where(check="states")
    assert set(audited.where(method="solver").numbers("mismatch")) == {0.0}
    assert set(audited.where(method="null: parent, else any legal move").numbers("st_correct")) == {1.0}
    blank = audited.where(method="null: copy the start", puzzle="graph_coloring")
    assert (blank.mean("e2e_official"), blank.mean("e2e_correct")) == (1, 0)
    assert outcomes(result)["C6"] == "out of reach here"
    assert no_look_ahead.function(result.rows) is not None


def test_a_small_model_is_right_more_often_where_fewer_cells_are_open(tmp_path: Path) -> None:
    result = run(tmp_path, only="learnt", seeds=1, per_count=80)
    assert outcomes(result)["C5"] == "holds"
    assert result.rows.where(method="small model", empties=2).mean("checked") > 0.7
    assert by_open_cells.function(result.rows) is not None


def test_a_limit_of_one_state_still_asks_about_one_of_each_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_sudoku, "trained", lambda *, seed: (small_sudoku.untrained(seed=seed), frozenset()))
    rows = run(tmp_path, only="learnt", seeds=1, limit=1).rows
    assert [len(row.values["checked"].values) for row in rows.where(method="small model")] == [2] * 5


def test_the_verdict_turns_when_the_model_fails_where_it_is_easy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puzzle = fr.Sudoku([[0] * 4] * 4)

    def wrong_when_easy(model: Any, grids: Sequence[Any]) -> list[bool]:
        return [puzzle.solvable(grid) is not (puzzle.open_cells(grid) < 4) for grid in grids]

    monkeypatch.setattr(small_sudoku, "trained", lambda *, seed: (None, frozenset()))
    monkeypatch.setattr(small_sudoku, "untrained", lambda *, seed: None)
    monkeypatch.setattr(small_sudoku, "says_solvable", wrong_when_easy)
    assert outcomes(run(tmp_path, only="learnt", seeds=1, per_count=40))["C5"] == "fails"


def test_a_trend_that_the_untrained_twin_shows_too_is_blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puzzle = fr.Sudoku([[0] * 4] * 4)

    def right_when_easy(model: Any, grids: Sequence[Any]) -> list[bool]:
        return [puzzle.solvable(grid) is (puzzle.open_cells(grid) < 4) for grid in grids]

    monkeypatch.setattr(small_sudoku, "trained", lambda *, seed: (None, frozenset()))
    monkeypatch.setattr(small_sudoku, "untrained", lambda *, seed: None)
    monkeypatch.setattr(small_sudoku, "says_solvable", right_when_easy)
    assert outcomes(run(tmp_path, only="learnt", seeds=1, per_count=40))["C5"] == "blind"


@dataclass(frozen=True)
class Player:
    """An endpoint that plays a part: it knows the items, and answers as the part would."""

    name: str
    answer: Callable[[fr.Item, str], str]
    items: tuple[fr.Item, ...]
    fingerprint: str = "0"
    local: bool = True

    def asker(self, **settings: Any) -> Asker:
        async def ask(messages: Sequence[Message]) -> str:
            text = messages[-1]["content"]
            shown = text.split("Current state")[-1] if "Current state" in text else text.split("Initial state")[-1]
            for item in self.items:
                state = item.current if "Current state" in text else item.puzzle.initial
                if item.puzzle.render(state) in shown and fr.checking_prompt(item).split("\n\n")[0] in text:
                    return self.answer(item, text)
            raise RuntimeError("not one of ours")

        return Asker(ask, pause=0.0, **settings)

    @classmethod
    def open(cls, address: str, **settings: Any) -> Player:
        raise NotImplementedError


SEED, COUNT = 0, 64


@pytest.fixture(scope="module")
def items() -> tuple[fr.Item, ...]:
    return tuple(fr.build_items("sudoku", COUNT, SEED))


@pytest.fixture
def sudoku_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules read Sudoku; the other puzzles would only take time."""
    monkeypatch.setattr(drawn, "SETS", {"sudoku": drawn.SETS["sudoku"]})


def guessing(item: fr.Item, text: str) -> str:
    """Optimistic, moves on whatever the label says, and solves nothing."""
    if '"Answer' in text:
        return "Answer: (A)"
    if '"Next state' in text:
        return f"Next state: {item.puzzle.render(item.unsolvable_child if item.status == 'Unsolvable' else good(item))}"
    return f"Solution: {item.puzzle.render(item.puzzle.initial)}"


def thinking(item: fr.Item, text: str) -> str:
    """Sees every label and every right move, and still solves nothing."""
    if '"Answer' in text:
        return f"Answer: {'(A)' if item.status == 'Solvable' else '(B)'}"
    if '"Next state' in text:
        return parent_or_any_move(item)
    return f"Solution: {item.puzzle.render(item.puzzle.initial)}"


def good(item: fr.Item) -> Any:
    return next(move for move in item.puzzle.moves(item.current) if item.puzzle.solvable(move))


@pytest.mark.usefixtures("sudoku_alone")
def test_endpoints_that_play_the_papers_parts_make_its_claims_hold(tmp_path: Path, items: tuple[fr.Item, ...]) -> None:
    model, reasoning = Player("guessing", guessing, items), Player("thinking", thinking, items)
    result = run(tmp_path, only="states", model=model, reasoning_model=reasoning, items=COUNT, max_calls=2_000)
    found = outcomes(result)
    assert {claim: found[claim] for claim in ("C1", "C2", "C3", "C4")} == dict.fromkeys(
        ("C1", "C2", "C3", "C4"), "holds"
    )
    rows = result.rows.where(method="reasoning model", puzzle="sudoku")
    checked, moved = rows.where(question="sc").mean("sc_correct"), rows.where(question="st").mean("st_correct")
    assert rows.where(question="sc and st").mean("step_mean") == pytest.approx((checked + moved) / 2)
    of_model = result.rows.where(method="model", question="sc")
    assert (of_model.mean("solvable_recall"), of_model.mean("unsolvable_recall")) == (1, 0)
    stages = [rows.where(stage=stage) for stage in (1, 2, 3, 4)]
    assert [len(s.numbers("sc_at_stage")) for s in stages] == [COUNT / 4] * 4


@pytest.mark.usefixtures("sudoku_alone")
def test_the_verdicts_turn_when_the_parts_are_exchanged(tmp_path: Path, items: tuple[fr.Item, ...]) -> None:
    model, reasoning = Player("thinking", thinking, items), Player("guessing", guessing, items)
    found = outcomes(run(tmp_path, only="states", model=model, reasoning_model=reasoning, items=COUNT, max_calls=2_000))
    assert {claim: found[claim] for claim in ("C1", "C2", "C3", "C4")} == dict.fromkeys(
        ("C1", "C2", "C3", "C4"), "fails"
    )


def test_a_run_that_would_take_more_calls_than_allowed_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(TooManyCalls, match="--max-calls allows 10"):
        run(tmp_path, only="states", model=Endpoint.open("specimen:silent"), items=8, max_calls=10)


def test_an_endpoint_that_says_nothing_readable_is_missing_and_decides_nothing(tmp_path: Path) -> None:
    result = run(tmp_path, only="states", model=Endpoint.open("specimen:silent"), items=8)
    assert result.rows.where(method="model", question="sc").numbers("sc_correct") == []
    assert outcomes(result)["C3"] == "inconclusive"


def test_official_files_take_the_place_of_drawn_items(tmp_path: Path) -> None:
    from tests.evaluation.finereason.test_official import official_line

    file = tmp_path / "game24_states.json"
    file.write_text("\n".join(json.dumps(official_line(item)) for item in fr.build_items("game24", 16)))
    result = run(tmp_path, only="states", data=(file,))
    assert result.rows.levels("puzzle") == ["game24"]


def test_a_run_on_files_that_are_not_there_or_on_no_items_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing_states\.json does not exist"):
        run(tmp_path, only="states", data=(tmp_path / "nothing_states.json",))
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "game24_states.json").write_text("")
    with pytest.raises(ValueError, match="need names of their own"):
        run(tmp_path, only="states", data=tuple(tmp_path / f / "game24_states.json" for f in ("one", "other")))
    with pytest.raises(ValueError, match="--per-count must be at least 2, a solvable and an unsolvable state, got 1"):
        run(tmp_path, only="learnt", per_count=1)
    with pytest.raises(ValueError, match="--items must be at least 1, got 0"):
        run(tmp_path, only="states", items=0)


def test_training_data_are_written_whole(tmp_path: Path) -> None:
    (application,) = stand("finereason").applications
    told = application.function(output=tmp_path / "rows.jsonl", puzzles=("sudoku", "game24"), rows=20, size=4)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert told.startswith("20 questions in")
    assert {row["puzzle"] for row in rows} == {"sudoku", "game24"}
