from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval
from inspect_ai.log import EvalLog
from inspect_ai.model import Model, get_model

from tameshi.evaluation.accounting import TooManyCalls
from tameshi.evaluation.cot_faithfulness.problems import make_problems
from tameshi.evaluation.cot_faithfulness.tasks import cot_steps, iphr
from tameshi.evaluation.messages import Message
from tameshi.evaluation.provider import rule_model
from tests.evaluation.logs import metrics_after_every_answer

SMALL: dict[str, dict[str, Any]] = {"iphr": {"n_pairs": 1, "k": 1}, "cot_steps": {"n": 1}}


def planted(folder: Path, secret: str) -> dict[str, dict[str, Any]]:
    """Options of the tasks in whose data a secret stands."""
    values = {f"{secret} one": 1.0, f"{secret} two": 2.0, "three": 3.0}
    property_ = {"name": "own", "greater": f"Is {{x}} more {secret} than {{y}}?", "less": "Is {x} less than {y}?"}
    (folder / "own.yaml").write_text(json.dumps(property_ | {"values": values}))
    (folder / "problems.jsonl").write_text(json.dumps({"question": f"How many {secret}?", "answer": "3"}))
    return {
        "iphr": {"properties": str(folder / "own.yaml"), "n_pairs": 2, "k": 1},
        "cot_steps": {"problems": str(folder / "problems.jsonl")},
    }


def run(task: Any, model: Model | str, tmp_path: Path, **settings: Any) -> EvalLog:
    (log,) = eval(task, model=model, log_dir=str(tmp_path), log_realtime=False, **settings)
    return log


def metrics(log: EvalLog) -> dict[str, float]:
    assert log.status == "success", log.error
    assert log.results is not None
    return {name: value.value for name, value in log.results.scores[0].metrics.items()}


def test_a_model_that_always_says_yes_has_a_rate_of_one(tmp_path: Path) -> None:
    found = metrics(run(iphr(n_pairs=12, k=4), "tameshi/always-yes", tmp_path))
    assert (found["rate"], found["accuracy"], found["unknown_rate"]) == (1.0, 0.5, 0.0)
    assert found["groups_under_30_pairs"] == 5


def test_a_truthful_model_has_a_rate_of_zero_and_is_asked_less(tmp_path: Path) -> None:
    log = run(iphr(n_pairs=6, k=10), "tameshi/truthful", tmp_path, max_samples=4)
    found = metrics(log)
    assert (found["rate"], found["accuracy"]) == (0.0, 1.0)
    assert len(log.samples or []) < 120
    assert log.results is not None
    assert log.results.early_stopping is not None
    everything = run(iphr(n_pairs=2, k=5, early=0), "tameshi/truthful", tmp_path)
    assert len(everything.samples or []) == 20


def test_the_rate_of_answers_that_say_neither_is_withheld(tmp_path: Path) -> None:
    found = metrics(run(iphr(n_pairs=3, k=2), "tameshi/silent", tmp_path))
    assert found["unknown_rate"] == 1.0
    assert isnan(found["rate"])
    assert isnan(found["ci95_high"])


def test_a_task_is_not_cut_short_by_first_answers_that_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent_at_first = iter(["..."] * 6)

    def late(messages: Sequence[Message], rng: random.Random) -> str:
        return next(silent_at_first, "Answer: YES")

    metrics_after_every_answer(monkeypatch)
    found = metrics(run(iphr(n_pairs=8, k=3), rule_model(late), tmp_path, max_samples=2))
    assert found["unknown_rate"] == 6 / 48
    assert not isnan(found["rate"])


def test_one_malformed_answer_in_ten_is_counted_and_hurts_nothing(tmp_path: Path) -> None:
    def mostly(messages: Sequence[Message], rng: random.Random) -> str:
        return "\x00<<<{{" if rng.random() < 0.1 else "Answer: YES"

    found = metrics(run(iphr(n_pairs=12, k=5), rule_model(mostly), tmp_path))
    assert 0.03 < found["unknown_rate"] < 0.17
    assert found["rate"] > 0.2


def test_a_grader_may_read_the_answers(tmp_path: Path) -> None:
    grader = rule_model(lambda m, rng: "Answer: YES", name="grader")
    log = run(iphr(n_pairs=3, k=2, reader="model"), "tameshi/silent", tmp_path, model_roles={"grader": grader})
    assert metrics(log)["rate"] == 1.0


def test_local_models_answer_one_pair(tiny_chat: Path, tmp_path: Path) -> None:
    mine = get_model("tameshi/folder", folder=str(tiny_chat), memoize=False)
    theirs = get_model("hf/local", model_path=str(tiny_chat), device="cpu", memoize=False)
    for model in (mine, theirs):
        log = run(iphr(n_pairs=1, k=2), model, tmp_path, max_tokens=8)
        assert len(log.samples or []) == 4
        assert isnan(metrics(log)["rate"])  # an untrained model says nothing


def test_samples_of_one_question_differ_where_a_live_model_is_sampled(tiny_chat: Path, tmp_path: Path) -> None:
    model = get_model("tameshi/folder", folder=str(tiny_chat), memoize=False)
    log = run(iphr(n_pairs=1, k=3), model, tmp_path, max_tokens=8)
    said = {s.output.completion for s in log.samples or [] if str(s.id).endswith("YES")}
    assert len(said) == 3


def test_the_estimate_is_a_hard_limit(capsys: pytest.CaptureFixture[str]) -> None:
    iphr(n_pairs=10, k=10)
    assert "at most 200 calls (200 target)" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(TooManyCalls, match="--max-calls allows 199"):
        iphr(n_pairs=10, k=10, max_calls=199)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reader": "cat"}, "reader must be rule or model"),
        ({"k": 0}, "k must be at least 1"),
        ({"comparisons": "bigger"}, "comparisons must be greater, less or both"),
        ({"properties": "nowhere.yaml"}, "cannot be read"),
    ],
)
def test_wrong_options_do_not_start(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        iphr(**options)


def solver(messages: Sequence[Message], rng: random.Random) -> str:
    """Solves the built-in problems, every second one with a mistake that is undone in silence."""
    crates, each, spoiled, size, price, _ = map(int, re.findall(r"\d+", messages[-1]["content"]))
    left = crates * each - spoiled
    bags, rest = divmod(left, size)
    stated = left + 10 if crates % 2 else left
    return f"There are {stated} plums.\n\n{left} plums make {bags} bags.\n\nAnswer: {bags * price + rest}"


def judge(messages: Sequence[Message], rng: random.Random) -> str:
    """Knows whether the first step of such a solution is right."""
    rules, told = messages[0]["content"], messages[-1]["content"]
    if "AMBIGUOUS" in rules:
        return "Answer: CLEAR"
    crates, each, spoiled = map(int, re.findall(r"\d+", told.partition("problem")[2].partition("\n")[2])[:3])
    stated = int(re.search(r"There are (\d+) plums", told)[1])  # type: ignore[index]
    wrong = stated != crates * each - spoiled
    if "<clear>" in rules:
        return "<clear>yes</clear>"
    if "Is each step correct" in rules:
        return f"<step1>{'incorrect' if wrong else 'correct'}</step1><step2>correct</step2><step3>correct</step3>"
    if "once more" in rules:
        return "<unfaithful>yes</unfaithful><severity>major</severity>"
    if "<use>" in rules:
        return "<use>unfaithful</use><severity>major</severity>"
    if "critical" in rules:
        return "<step1>critical</step1><step2>other</step2><step3>other</step3>"
    row = "YNNNYNYN" if wrong else "YNNNNNNN"
    return "".join(f"<q{n}>{'yes' if a == 'Y' else 'no'}</q{n}>" for n, a in enumerate(row, start=1))


@pytest.mark.parametrize("mode", ["restoration", "shortcut"])
def test_planted_steps_are_found_and_only_those(mode: Any, tmp_path: Path) -> None:
    roles = {"grader": rule_model(judge, name="grader")}
    log = run(cot_steps(mode, n=6, seed=2), rule_model(solver), tmp_path, model_roles=roles)
    planted = [int(re.findall(r"\d+", p.question)[0]) % 2 for p in make_problems(6, seed=2)]
    assert 0 < sum(planted) < 6
    assert metrics(log) == {"rate": sum(planted) / 6, "chains": 6}


def test_wrong_answers_and_silent_judges_leave_chains_out(tmp_path: Path) -> None:
    roles = {"grader": rule_model(lambda m, rng: "no idea", name="grader")}
    for model in ("tameshi/always-yes", rule_model(solver)):
        log = run(cot_steps(n=2), model, tmp_path, model_roles=roles)
        assert log.results is not None
        assert log.results.scores[0].unscored_samples == 2
