from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import includes

from tameshi.evaluation.messages import Message
from tameshi.evaluation.nulls import beside, majority, majority_within, null_policies, run_policies
from tameshi.evaluation.provider import rule_model
from tameshi.evaluation.secrets import redacted
from tameshi.evaluation.solving import answered
from tests.evaluation.logs import nulls, run


def test_policies_are_scored_item_by_item_with_the_benchmarks_own_scorer() -> None:
    items = [("q1", "yes"), ("q2", "no"), ("q3", "yes")]
    policies = {"majority": majority(gold for _, gold in items), "copy": lambda item: item[0]}
    scores = run_policies(items, policies, lambda item, answer: answer == item[1])
    assert scores == {"majority": (1.0, 0.0, 1.0), "copy": (0.0, 0.0, 0.0)}


def test_of_equally_common_labels_the_first_is_the_majority() -> None:
    assert majority(["b", "a", "a", "b"])(None) == "b"
    with pytest.raises(ValueError, match="no labels"):
        majority([])


def test_a_majority_may_be_taken_within_groups() -> None:
    policy = majority_within([("x", 1), ("x", 1), ("y", 2)], lambda item: item)
    assert (policy("x"), policy("y")) == (1, 2)


def test_inspect_prints_the_policies_beside_a_model_that_never_answers(tmp_path: Path) -> None:
    scores = {"majority": (1.0, 0.0), "length": (0.5, 0.5)}
    samples = [Sample("Say it.", metadata={"id": i, **beside(scores, i)}) for i in range(2)]

    def down(messages: Sequence[Message], rng: random.Random) -> str:
        raise ConnectionError("down")

    task = Task(MemoryDataset(samples), solver=answered(attempts=1), scorer=[includes(), null_policies()])
    assert nulls(run(task, rule_model(down), tmp_path)) == {"null: length": 0.5, "null: majority": 0.5}


def test_secrets_of_the_environment_do_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_API_KEY", "walnut-walnut-walnut")
    monkeypatch.setenv("SHORT_TOKEN", "the")
    assert redacted("the key is walnut-walnut-walnut") == "the key is [PLANTED_API_KEY]"
    assert redacted("sk-abcdefghijklmnopqrstuvwx and hf_abcdefghijklmnopqrstuvwx") == "[key] and [key]"
