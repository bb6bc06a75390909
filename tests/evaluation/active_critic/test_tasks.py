"""Baselines, the critic as a scorer of an Inspect task, its agreement as a task, and the simulated world."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import get_model
from inspect_ai.solver import generate

from tameshi.doors import models
from tameshi.evaluation.accounting import TooManyCalls
from tameshi.evaluation.active_critic import (
    ActiveCritic,
    CalibratedLinear,
    Criterion,
    Demonstration,
    Example,
    GEval,
    GPTScore,
    Length,
    Scale,
    agreement,
    direct,
    few_shot,
    fixed_criteria,
    world,
)
from tameshi.evaluation.active_critic.baselines import ridge
from tameshi.evaluation.active_critic.marked import CRITERIA, PROMPT, marked_texts, marker_judge
from tameshi.evaluation.active_critic.tasks import active_critic_eval
from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.messages import Answer
from tameshi.evaluation.provider import rule_model
from tests.evaluation.logs import metrics, run

TEXTS, SCORES = marked_texts(0, 40)
SMALL: dict[str, dict[str, Any]] = {"active_critic_eval": {"limit": 1}}


def planted(folder: Path, secret: str) -> dict[str, dict[str, Any]]:
    """Options of the tasks in whose data a secret stands."""
    rows = [{"source": f"Why {secret}?", "output": f"Because {secret} {n}.", "score": n} for n in range(2)]
    (folder / "rated.json").write_text(json.dumps(rows))
    example = Example("d", f"From {secret}", f"shown {secret}")
    replace(PROMPT, demonstrations=(Demonstration(example, 3.0, f"{secret}!"),)).save(folder / "critic.json")
    return {"active_critic_eval": {"dataset": str(folder / "rated.json"), "critic": str(folder / "critic.json")}}


def ask(**settings: Any) -> Asker:
    return Asker(rule_model(marker_judge(**settings)))


def test_every_baseline_scores_every_text_and_says_whether_it_saw_labels() -> None:
    made = {
        "direct": direct(ask()),
        "few-shot": few_shot(ask(), TEXTS[:10], SCORES[:10], scale=Scale(1, 5)),
        "fixed": fixed_criteria(ask(), CRITERIA),
        "linear": CalibratedLinear(ask(), criteria=CRITERIA).fit(TEXTS[:20], SCORES[:20]),
        "length": Length(),
    }
    for name, critic in made.items():
        found = agreement(SCORES[20:], critic.predict(TEXTS[20:]))
        assert (found.n, found.unread) == (20, 0)
        assert found.spearman > 0.9 or name == "length"
    assert [made[n].uses_labels for n in made] == [False, True, False, True, False]


def test_few_shot_examples_are_spread_over_the_scores() -> None:
    demos = few_shot(ask(), TEXTS, SCORES, most=3).prompt.demonstrations
    assert [d.score for d in demos] == [min(SCORES), sorted(SCORES)[20], max(SCORES)]


def test_g_eval_takes_the_mean_of_what_can_be_read() -> None:
    told = iter(["4", "Clarity: 2", "no idea", "9"])

    async def model(messages: Any) -> str:
        return next(told)

    judge = GEval(Asker(model, connections=1), "Judge replies.", Criterion("Clarity", "clear"), steps=["Read it."], n=4)
    assert judge.predict(TEXTS[:1]).tolist() == [3]
    assert judge.unread_ == 0.5

    async def silent(messages: Any) -> str:
        return "nothing"

    assert np.isnan(GEval(Asker(silent), "", Criterion("c", "d"), n=2).predict(TEXTS[:1])[0])


def test_g_eval_expects_a_score_under_the_probabilities_of_the_first_token(tiny_chat: Path) -> None:
    async def model(messages: Any) -> Answer:
        text = messages[-1]["content"]
        first = {"1": 0.05, "2": 0.15, "3": 0.4, " 4": 0.2, "4": 0.1, "5": 0.1}
        return Answer("3", first={} if "silent" in text else first | {"I": 0.3, "9": 0.2})

    judge = GEval(Asker(model), "", Criterion("Clarity", "clear"), probabilities=True)
    found = judge.predict([{"output": "text"}, {"output": "silent"}])
    assert found[0] == pytest.approx(3.25)
    assert np.isnan(found[1])
    assert (judge.unread_, judge.ask.ledger.calls.total()) == (0.5, 2)
    settings = {"temperature": 0.0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
    live = Asker(get_model("hf/local", model_path=str(tiny_chat), device="cpu", memoize=False), **settings)
    told = wait(live([{"role": "user", "content": "How good?"}]))
    assert isinstance(told, Answer)
    assert len(told.first) == 20
    assert 0 < sum(told.first.values()) <= 1 + 1e-6


def test_ridge_without_penalty_is_least_squares_and_with_much_is_the_mean() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3))
    y = x @ [1.0, -2.0, 0.5] + 3
    mean, spread, weights, middle = ridge(x, y, 1e-9)
    assert (x - mean) / spread @ weights + middle == pytest.approx(y)
    *_, weights, middle = ridge(x, y, 1e12)
    assert np.abs(weights).max() < 1e-6
    assert middle == pytest.approx(y.mean())


def test_gptscore_is_the_mean_log_probability_of_the_output(tiny_chat: Path) -> None:
    import torch

    model, tokenizer = models.causal_lm(models.look_at(tiny_chat))
    (found,) = GPTScore(model, tokenizer, task="t").predict([{"source": "ab", "output": "cd"}])
    before, own = tokenizer("t\nab")["input_ids"], tokenizer("cd", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*before, *own]])).logits[0].log_softmax(-1)
    by_hand = np.mean([float(logits[len(before) - 1 + k, token]) for k, token in enumerate(own)])
    assert found == pytest.approx(by_hand, abs=1e-5)
    assert np.isnan(GPTScore(model, tokenizer).predict([{"output": ""}])[0])


def test_a_fitted_critic_scores_any_task(tmp_path: Path) -> None:
    critic = ActiveCritic(rule_model(marker_judge()), nested=0).fit(TEXTS[:12], SCORES[:12])
    samples = [Sample("Say it.", target="", id=str(n)) for n in range(3)]

    def task() -> Task:
        return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=critic.as_scorer())

    writer = rule_model(lambda messages, rng: "kindly clearly.")
    log = run(task(), writer, tmp_path, model_roles={"grader": rule_model(marker_judge())})
    assert metrics(log)["mean"] == 3
    score = log.samples[0].scores["critic_scorer"]
    assert score.metadata == {"clarity": 3, "warmth": 3}
    assert score.explanation
    (failed,) = eval(task(), model=writer, log_dir=str(tmp_path / "logs"))
    assert failed.status == "error"
    assert "no model has the role" in str(failed.error)


def test_agreement_as_a_task_with_length_beside_it(tmp_path: Path, tiny_chat: Path) -> None:
    log = run(active_critic_eval(), "tameshi/marker-judge", tmp_path)
    found = metrics(log)
    assert found["spearman"] > 0.9
    assert abs(metrics(log, 2)["spearman"]) < found["spearman"]
    assert metrics(log, 1)["mean"] == 0
    file = tmp_path / "rated.csv"
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerows(
            [("source", "output", "score"), *((e.source, e.output, s) for e, s in zip(TEXTS, SCORES, strict=True))]
        )
    PROMPT.save(tmp_path / "critic.json")
    same = run(active_critic_eval(str(tmp_path / "critic.json"), str(file)), "tameshi/marker-judge", tmp_path)
    assert metrics(same)["spearman"] == found["spearman"]
    tiny = get_model("tameshi/folder", folder=str(tiny_chat), memoize=False)
    untrained = run(active_critic_eval(limit=2), tiny, tmp_path)
    assert metrics(untrained, 1)["mean"] == 1  # nothing it writes can be read, and nothing breaks
    theirs = get_model("hf/local", model_path=str(tiny_chat), device="cpu", memoize=False)
    spoke = run(active_critic_eval(limit=1), theirs, tmp_path, max_tokens=8)
    assert spoke.samples[0].store["unread"] == "no <score>"  # cold, which transformers has no temperature of 0 for
    assert abs(metrics(untrained, 2)["spearman"]) <= 1  # what length alone says is known nevertheless
    with pytest.raises(TooManyCalls, match="120 calls"):
        active_critic_eval(max_calls=100)
    with pytest.raises(ValueError, match="not the file of a saved critic"):
        active_critic_eval(str(tmp_path / "none.json"))


def test_a_tenth_of_malformed_answers_is_counted_apart(tmp_path: Path) -> None:
    log = run(active_critic_eval(), rule_model(marker_judge(malformed=0.3), seed=2), tmp_path)
    assert 0 < metrics(log, 1)["mean"] < 0.5
    assert metrics(log)["spearman"] > 0.7


def test_the_simulated_world_shows_what_inference_can_do_and_what_selection_promises() -> None:
    worlds = [world.draw(s) for s in range(40)]

    def mean(method: str, labels: int, **settings: Any) -> float:
        return float(np.mean([world.outcome(method, w, labels, seed=s, **settings).test for s, w in enumerate(worlds)]))

    assert mean("passive", 40) < mean("inferred", 10) < mean("inferred", 40) < mean("oracle", 40)
    assert mean("inferred", 40, shuffled=True) == pytest.approx(mean("passive", 40), abs=0.1)
    few = [world.outcome("active critic", w, 5, seed=s) for s, w in enumerate(worlds)]
    assert np.mean([f.selection - f.test for f in few]) > 0.3
    assert world.outcome("oracle", worlds[0], 5).selection is None
    assert world.outcome("inferred", worlds[0], 5) == world.outcome("inferred", worlds[0], 5)
    with pytest.raises(ValueError, match="no method 'best'"):
        world.outcome("best", worlds[0], 5)
    with pytest.raises(ValueError, match="between 2 and 40"):
        world.outcome("inferred", worlds[0], 41)
