"""Which prompt is chosen: instructions rewritten, samples averaged, and what both cost."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import Model, get_model
from inspect_ai.solver import generate

from tameshi.evaluation.active_critic import ActiveCritic, CriticPrompt, Demonstration, Judged, Scale
from tameshi.evaluation.active_critic.marked import CRITERIA, PROMPT, marked_texts, marker_judge
from tameshi.evaluation.active_critic.rewriting import rewrite
from tameshi.evaluation.active_critic.scoring import judge_one, mean_of
from tameshi.evaluation.active_critic.tasks import active_critic_eval
from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.provider import rule_model
from tests.evaluation.active_critic.test_critic import Recorded
from tests.evaluation.logs import metrics, run

TEXTS, SCORES = marked_texts(0, 40)
TOLD = "Count the planted words."


def fitted(judge: Recorded, count: int = 24, **settings: Any) -> ActiveCritic:
    made = ActiveCritic(judge, **{"nested": 0, "max_calls": 20_000, "n_candidates": 3, **settings})
    return made.fit(TEXTS[:count], SCORES[:count])


def counts_only_if_told(messages: Sequence[Any], rng: random.Random) -> str:
    """Judges at random until its instruction says what to do."""
    rules, asked = messages[0]["content"], messages[-1]["content"]
    if "text under judgement" in asked and TOLD not in rules:
        return f"<score>{rng.randint(1, 5)}</score>"
    return marker_judge()(messages, rng)


def rewritings(judge: Recorded) -> list[str]:
    return [m[-1]["content"] for m in judge.asked if "Rewrite the instruction" in m[0]["content"]]


def test_an_instruction_that_scores_better_when_rewritten_is_taken() -> None:
    plain = fitted(Recorded(counts_only_if_told))
    critic = fitted(Recorded(counts_only_if_told), propose=2)
    assert TOLD not in plain.task_description_
    assert critic.task_description_ == TOLD
    assert [t.rewritten for t in critic.selection_history_] == [0, 0, 0, 1, 2][-len(critic.selection_history_) :]
    assert critic.score(TEXTS[24:], SCORES[24:]) > 0.9 > plain.score(TEXTS[24:], SCORES[24:])


def test_an_instruction_that_is_no_better_is_not_taken() -> None:
    critic = fitted(Recorded(marker_judge()), propose=2)
    assert critic.selection_history_[-1].rewritten == 2
    assert TOLD not in critic.task_description_


def test_whoever_rewrites_sees_no_text_that_the_prompts_are_compared_on() -> None:
    judge = Recorded(marker_judge())
    critic = fitted(judge, propose=2, n_candidates=1)
    seen = {
        t for asked in rewritings(judge) for t in re.findall(r"<<text \d+ \w+>>\n(.*?)\n<<end of", asked, re.DOTALL)
    }
    judged = Counter(
        re.findall(r"<<text under judgement \w+>>\n(.*?)\n<<end of", text, re.DOTALL)[-1] for text in judge.judging()
    )
    compared = {text for text, times in judged.items() if times >= 3 * len(critic.selection_history_)}
    source_of = {e.output: e.group for e in TEXTS}
    assert len(rewritings(judge)) == 2
    assert seen
    assert len(compared) >= 10
    assert {source_of[t] for t in seen}.isdisjoint(source_of[t] for t in compared)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"task": "", "criteria": []}, "it lacks task"),
        ({"task": "t", "criteria": 3}, "has no list"),
        ({"task": "t", "criteria": [{"name": "clarity", "definition": "d"}]}, "must be clarity, warmth, got clarity"),
        ({"task": "t", "criteria": [{"name": n} for n in ("warmth", "clarity")]}, "has no definition"),
    ],
)
def test_a_rewriting_that_cannot_be_used_is_repaired_once_and_then_left(told: dict[str, Any], problem: str) -> None:
    judge = Recorded(lambda messages, rng: json.dumps(told))
    found = wait(rewrite(Asker(judge), PROMPT, TEXTS[:2], SCORES[:2], [Judged(1.0, "so"), Judged(None)]))
    assert found is None
    assert len(judge.asked) == 2
    assert problem in judge.asked[1][-1]["content"]


def test_a_rewriting_says_task_and_criteria_anew_and_leaves_the_rest() -> None:
    told = {
        "task": " New. ",
        "criteria": [{"name": n, "definition": f"{n}?", "high": "much"} for n in ("warmth", "clarity")],
    }
    judge = Recorded(lambda messages, rng: json.dumps(told))
    found = wait(rewrite(Asker(judge), PROMPT, TEXTS[:2], SCORES[:2], [Judged(1.0, "so"), Judged(None)]))
    assert found is not None
    assert (found.task, [c.name for c in found.criteria]) == ("New.", ["clarity", "warmth"])
    assert found.criteria[0].definition == "clarity?"
    assert (found.demonstrations, found.scale, found.mode) == (PROMPT.demonstrations, PROMPT.scale, PROMPT.mode)
    asked = judge.asked[0][-1]["content"]
    assert f"Score of people: {SCORES[0]:g}\nScore of the judge: 1" in asked
    assert "none that could be read" in asked


@pytest.mark.parametrize("settings", [{"propose": 2}, {"samples": 3}, {"propose": 1, "samples": 2, "mode": "coarse"}])
def test_rewriting_and_samples_cost_what_was_predicted(settings: dict[str, Any]) -> None:
    judge = Recorded(marker_judge())
    critic = fitted(judge, n_candidates=1, **settings)
    each = critic.prompt_.calls * settings.get("samples", 1)
    rounds, selection = settings.get("propose", 0), critic.selection_history_[0].agreement.n
    predicted = 2 * critic.inferred_.batches + selection * each + rounds * (1 + (5 + selection) * each)
    assert critic.n_calls_ == len(judge.asked) == predicted
    assert critic.n_calls_ <= critic.estimate(24, criteria=2).total


@pytest.mark.parametrize("count", [8, 14, 24])
@pytest.mark.parametrize("sources", [3, 7, 100])
def test_the_estimate_holds_for_few_labels_and_few_sources(count: int, sources: int) -> None:
    judge = Recorded(marker_judge())
    critic = ActiveCritic(judge, propose=1, samples=2, mode="coarse", max_calls=20_000)
    groups = [str(n % sources) for n in range(count)]
    critic.fit(TEXTS[:count], SCORES[:count], groups)
    told = critic.estimate(count, groups=groups, criteria=2)
    assert len(judge.asked) <= told.total
    assert set(told.calls) == {"inference", "selection", "rewriting", "honest estimate"}


def test_a_budget_that_ends_in_a_rewriting_leaves_the_best_until_then() -> None:
    full = fitted(Recorded(marker_judge())).n_calls_
    with pytest.warns(UserWarning, match="propose"):
        critic = fitted(Recorded(marker_judge()), propose=2, max_calls=full + 20)
    assert [t.rewritten for t in critic.selection_history_] == [0] * len(critic.selection_history_)
    assert isinstance(critic.prompt_, CriticPrompt)


def told(*answers: str) -> Callable[[Sequence[Any], random.Random], str]:
    left = iter(answers)
    return lambda messages, rng: next(left)


def test_samples_are_averaged_and_those_that_cannot_be_read_are_left_out() -> None:
    prompt = CriticPrompt("", (), (), Scale(1, 5), "coarse")
    ask = Asker(
        Recorded(told("<reason>two</reason><score>2</score>", "?", "?", "<reason>five</reason><score>5</score>", "?"))
    )
    found = wait(judge_one(ask, prompt, TEXTS[0], samples=3))
    assert (found.score, found.reason) == (3.5, "two")  # of equally near ones the first
    assert sorted(found.samples) == [2, 5]
    silent = wait(judge_one(Asker(Recorded(lambda m, r: "?")), prompt, TEXTS[0], samples=2))
    assert (silent.score, silent.unread, silent.samples) == (None, "no <score>", ())
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        wait(judge_one(ask, prompt, TEXTS[0], samples=0))
    with pytest.raises(ValueError, match="propose must be at least 0 and samples at least 1, got -1 and 1"):
        ActiveCritic(Recorded(told()), propose=-1)


def test_criteria_are_averaged_over_the_samples_that_have_them() -> None:
    found = mean_of([Judged(2, "a", {"x": 1, "y": 4}), Judged(None, unread="no"), Judged(4, "b", {"x": 2})])
    assert (found.score, dict(found.criteria), found.reason) == (3, {"x": 1.5, "y": 4}, "a")


def test_demonstrations_stand_in_another_order_in_every_call_and_say_what_their_score_is_of() -> None:
    demos = tuple(Demonstration(e, s) for e, s in zip(TEXTS[:4], SCORES[:4], strict=True))
    prompt = CriticPrompt("", CRITERIA, demos, Scale(1, 5), "fine")
    assert len({prompt.rubric(TEXTS[9], turn=t) for t in range(8)}) > 1
    orders = [re.findall(r"<<example \d+ (\w+)>>", prompt.rubric(TEXTS[9], criterion=c)) for c in CRITERIA]
    assert orders[0] != orders[1]
    assert "for the whole, not for this one thing" in prompt.rubric(TEXTS[9], criterion=CRITERIA[0])
    assert "for the whole" not in prompt.rubric(TEXTS[9])


class Listening:
    """A model in memory that remembers how warm it was asked."""

    def __init__(self) -> None:
        self.temperatures: list[float | None] = []

    async def answer(self, messages: Sequence[Any], **settings: Any) -> tuple[str, int, int]:
        self.temperatures.append(settings["temperature"])
        return "<score>3</score>", 1, 1

    def model(self) -> Model:
        return get_model("tameshi/listening", live=self, memoize=False)


def test_one_sample_is_taken_cold_and_several_warm(tmp_path: Path) -> None:
    heard = Listening()
    critic = ActiveCritic(heard.model(), mode="coarse", n_candidates=1, nested=0).fit(TEXTS[:6], SCORES[:6])
    critic.predict(TEXTS[:1])
    assert set(heard.temperatures) == {0}
    for samples, warmth in ((1, 0.0), (2, 1.0)):
        heard = Listening()
        critic.samples = samples
        task = Task(dataset=MemoryDataset([Sample("x")]), solver=generate(), scorer=critic.as_scorer())
        run(task, rule_model(lambda m, r: "text"), tmp_path, model_roles={"grader": heard.model()})
        assert heard.temperatures == [warmth] * samples
        heard = Listening()
        run(active_critic_eval(limit=1, samples=samples), heard.model(), tmp_path)
        assert set(heard.temperatures) == {warmth}


def test_how_far_samples_of_one_judgement_agree_stands_in_the_log(tmp_path: Path) -> None:
    steady = run(active_critic_eval(limit=6, samples=3), "tameshi/marker-judge", tmp_path)
    assert metrics(steady, 3)["krippendorff_alpha"] == 1

    def wavering(messages: Sequence[Any], rng: random.Random) -> str:
        return f"<score>{rng.randint(1, 5)}</score>"

    loose = run(active_critic_eval(limit=6, samples=3), rule_model(wavering), tmp_path)
    assert metrics(loose, 3)["krippendorff_alpha"] < 0.5
