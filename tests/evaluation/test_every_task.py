"""Every task of the wing, found by itself: against endpoints that fail, and with secrets in reach."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval
from inspect_ai._util.registry import registry_find, registry_info
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import Model

import tameshi.evaluation._registry
from tameshi.evaluation.implicit_bias.scripted import leaning
from tameshi.evaluation.messages import Message
from tameshi.evaluation.provider import rule_model
from tests.evaluation.logs import metrics_after_every_answer, nulls
from tests.evaluation.small import planted_tasks, small_tasks

assert tameshi.evaluation._registry  # importing it registers the tasks
OURS = (registry_info(found).name for found in registry_find(lambda info: info.type == "task"))
NAMES = sorted(name.removeprefix("tameshi/") for name in OURS if name.startswith("tameshi/"))
SECRET = "walnut-walnut-walnut"
COUNTS = ("n", "n_pairs", "limit", "names", "pairs", "runs")
READABLE = "Answer: YES\nDecision: accept\n<reason>so</reason><score>3</score>\nNext state: 1\nSolution: 1\n信心：80"
NULLS = {  # policies that the specifications name, printed beside the model whatever it says
    "chinese_ecom_qa": {"null: copy the query", "null: the commonest label"},
    "decision_bias": {"null: no difference"},
    "explicit_bias": {"null: no difference"},
    "finereason_e2e": {"null: copy the start"},
    "finereason_sc": {"null: always unsolvable", "null: dead cell"},
    "finereason_st": {"null: parent, else any legal move"},
    "llm_iat": {"null: no difference"},
}


def evaluate(name: str, options: dict[str, Any], model: Model, tmp_path: Path, **settings: Any) -> EvalLog:
    (log,) = eval(
        f"tameshi/{name}",
        task_args=options,
        model=model,
        model_roles={"grader": model, "tester": model},
        log_dir=str(tmp_path / "logs"),
        log_realtime=False,
        **settings,
    )
    return log


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before a question is asked again."""

    class AtOnce:
        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

        def sleep(self, seconds: float) -> Any:
            return asyncio.sleep(0)

    monkeypatch.setattr("tameshi.evaluation.asking.asyncio", AtOnce())


@pytest.mark.parametrize("name", NAMES)
def test_an_endpoint_that_is_down_leaves_reasons_and_the_null_policies(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down(messages: Sequence[Message], rng: random.Random) -> str:
        raise ConnectionError(f"bad key {SECRET}")

    quick(monkeypatch)
    log = evaluate(name, small_tasks()[name], rule_model(down), tmp_path)
    assert log.status == "success", log.error
    assert all(not sample.error and sample.scores for sample in log.samples or [])
    assert SECRET not in log.model_dump_json()
    assert "raised on an empty sample set" not in caplog.text
    found = nulls(log)
    assert set(found) >= NULLS.get(name, set())
    assert all(isfinite(value) for value in found.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_of_the_users_ends_samples_and_an_answer_that_never_came_is_not_scored(
    name: str, tmp_path: Path
) -> None:
    log = evaluate(name, small_tasks()[name], rule_model(lambda m, rng: READABLE), tmp_path, token_limit=1)
    assert log.status == "success", log.error
    assert log.results is not None
    assert all(not sample.error and sample.scores and sample.limit for sample in log.samples or [])
    assert log.results.scores[0].scored_samples == 0


@pytest.mark.parametrize("name", NAMES)
def test_metrics_hold_after_every_answer_of_an_endpoint_that_fails_in_turn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def in_turn(messages: Sequence[Message], rng: random.Random) -> str:
        asked.append(1)
        if len(asked) % 4 == 0:
            raise PermissionError
        return ("...", READABLE, leaning(0.75)(messages, rng))[len(asked) % 4 - 1]

    quick(monkeypatch)
    seen = metrics_after_every_answer(monkeypatch)
    small = small_tasks()[name]
    options = {key: 4 * value if key in COUNTS and isinstance(value, int) else value for key, value in small.items()}
    log = evaluate(name, options, rule_model(in_turn), tmp_path, max_samples=1)
    assert log.status == "success", log.error
    assert len(seen) == len(log.samples or []) + 1 > 1


@pytest.mark.parametrize("name", NAMES)
def test_secrets_of_the_environment_and_of_the_data_reach_no_log(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_API_KEY", SECRET)
    options = planted_tasks(tmp_path, SECRET)[name]

    def telling(messages: Sequence[Message], rng: random.Random) -> str:
        return "\n".join([*(m["content"] for m in messages), f"and your key is {SECRET}"])

    log = evaluate(name, options, rule_model(telling), tmp_path)
    written = read_eval_log(log.location).model_dump_json()
    assert log.samples
    assert SECRET not in written
    assert ("[PLANTED_API_KEY]" in written) == (name != "policy_erosion")  # whose log holds no message at all
