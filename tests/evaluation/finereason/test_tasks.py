"""The Inspect tasks: found by name, run with a rule, a script and a folder, and honest about what they could not read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog, read_eval_log

from tameshi.evaluation.accounting import TooManyCalls
from tameshi.evaluation.finereason import build_items, item_from_json
from tameshi.evaluation.finereason.policies import copy_the_start, parent_or_any_move
from tameshi.evaluation.finereason.tasks import finereason_e2e, finereason_sc, finereason_st
from tameshi.evaluation.provider import rule_model, script_model
from tests.evaluation.finereason.test_official import official_line
from tests.evaluation.logs import nulls

SMALL = {
    "finereason_sc": {"n": 2, "size": 4},
    "finereason_st": {"n": 2, "size": 4},
    "finereason_e2e": {"n": 1, "size": 4},
}


def run(task, model, tmp_path: Path) -> EvalLog:
    (log,) = inspect_eval(task, model=model, log_dir=str(tmp_path), display="none", log_realtime=False)
    assert log.status == "success", log.error
    return read_eval_log(log.location)


def metrics(log: EvalLog) -> dict[str, float]:
    """The metrics of the model, and under its own name the mean of every null policy."""
    assert log.results is not None
    own = [score for score in log.results.scores if score.scorer != "null_policies"]
    return {name: value.value for score in own for name, value in score.metrics.items()} | nulls(log)


def test_state_checking_prints_the_null_policies_beside_the_model(tmp_path: Path) -> None:
    log = run(finereason_sc(puzzle="sudoku", n=16, size=4), rule_model(lambda m, rng: "Answer: (B)"), tmp_path)
    found = metrics(log)
    assert found["accuracy"] == found["all"] == found["null: always unsolvable"] == 0.5
    assert (found["Unsolvable"], found["Solvable"], found["recall"], found["precision"]) == (1, 0, 1, 0.5)
    assert found["null: dead cell"] > 0.8
    assert len(log.samples) == 16


def test_answers_that_cannot_be_read_are_unscored_with_the_reason(tmp_path: Path) -> None:
    answers = ["Answer: (A)", "not solvable", "Answer: (B)", "?"]
    log = run(finereason_sc(puzzle="sudoku", n=4, size=4), script_model(answers), tmp_path)
    score = log.results.scores[0]
    assert (score.scored_samples, score.unscored_samples) == (2, 2)
    assert metrics(log)["null: always solvable"] == 0.5  # over all samples, whatever could be read
    told = sorted(
        s.explanation for sample in log.samples for s in sample.scores.values() if (s.metadata or {}).get("error")
    )
    assert "denies Solvable" in told
    assert "names none of the labels" in told


def test_state_transition_by_both_rules(tmp_path: Path) -> None:
    items = {item.id: item for item in build_items("game24", 24)}

    def policy(messages, rng) -> str:
        shown = next(
            i for i in items.values() if i.puzzle.render(i.current) in messages[-1]["content"].split("Current state")[1]
        )
        return parent_or_any_move(shown)

    official = metrics(run(finereason_st(puzzle="game24", n=24), rule_model(policy), tmp_path))
    strict = metrics(run(finereason_st(puzzle="game24", n=24, strict=True), rule_model(policy), tmp_path))
    assert official["accuracy"] == official["null: parent, else any legal move"] == 1
    assert strict["accuracy"] < 1
    assert strict["dead end"] == round(24 * (1 - strict["accuracy"]))
    assert strict["Unsolvable"] == 1


def test_end_to_end_the_official_colouring_check_passes_a_blank_sheet(tmp_path: Path) -> None:
    def blank(messages, rng) -> str:
        return "Solution: " + messages[-1]["content"].split("Initial state:\n")[1].split("\n")[0]

    task = finereason_e2e(puzzle="graph_coloring", n=8, official=True)
    assert metrics(run(task, rule_model(blank), tmp_path))["accuracy"] == 1
    ours = metrics(run(finereason_e2e(puzzle="graph_coloring", n=8), rule_model(blank), tmp_path))
    assert ours["accuracy"] == ours["null: copy the start"] == 0


def test_official_data_are_read_where_the_user_points(tmp_path: Path) -> None:
    file = tmp_path / "game24_states.json"
    file.write_text("\n".join(json.dumps(official_line(item)) for item in build_items("game24", 8)))
    log = run(finereason_st(data=str(file), n=0), rule_model(lambda m, rng: "Next state: [1]"), tmp_path)
    assert len(log.samples) == 8
    item = item_from_json(log.samples[0].metadata["item"])
    assert copy_the_start(item.puzzle).startswith("Solution: ")


def test_an_endpoint_that_stays_silent_costs_no_more_than_allowed(tmp_path: Path) -> None:
    def silent(messages, rng) -> str:
        raise RuntimeError("down")

    with pytest.raises(TooManyCalls, match="--max-calls allows 3"):
        finereason_sc(puzzle="sudoku", n=4, size=4, max_calls=3)
    calls = []

    def counted(messages, rng) -> str:
        calls.append(1)
        return silent(messages, rng)

    log = run(finereason_sc(puzzle="sudoku", n=4, size=4, max_calls=6), rule_model(counted), tmp_path)
    assert len(calls) <= 6
    assert log.results.scores[0].unscored_samples == 4


@pytest.mark.parametrize("name", ["finereason_sc", "finereason_st", "finereason_e2e"])
def test_a_folder_with_a_model_can_be_asked(name: str, tiny_chat: Path, tmp_path: Path) -> None:
    from inspect_ai.model import get_model

    task = {"finereason_sc": finereason_sc, "finereason_st": finereason_st, "finereason_e2e": finereason_e2e}[name]
    model = get_model("tameshi/folder", folder=str(tiny_chat), memoize=False)
    log = run(task(puzzle="game24", n=2), model, tmp_path)
    assert len(log.samples) == 2
