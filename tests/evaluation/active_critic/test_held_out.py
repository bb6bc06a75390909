"""Evaluators side by side on held-out texts: who sees what, and what each costs."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pytest

from tameshi.evaluation.active_critic import Scale
from tameshi.evaluation.active_critic.held_out import estimate, evaluate, evaluators, split
from tameshi.evaluation.active_critic.marked import CRITERIA, marked_texts, marker_judge
from tameshi.evaluation.messages import Message
from tameshi.evaluation.provider import rule_model

TEXTS, SCORES = marked_texts(0, 60)
PART = split(TEXTS, SCORES, train=0.25, scale=Scale(1, 5))


def test_whole_sources_are_held_out() -> None:
    learnt, unseen = ({e.group for e in part} for part in (PART.examples, PART.unseen))
    assert learnt.isdisjoint(unseen)
    assert (len(learnt), len(learnt | unseen)) == (8, 30)
    score_of = {e.id: s for e, s in zip(TEXTS, SCORES, strict=True)}
    assert PART.people == [score_of[e.id] for e in PART.unseen]
    assert split(TEXTS, SCORES, train=0.25, scale=Scale(1, 5), seed=1) != PART
    for train in (0, 1, -0.5):
        with pytest.raises(ValueError, match="share of at least four sources"):
            split(TEXTS, SCORES, train=train, scale=Scale(1, 5))


@pytest.mark.parametrize("settings", [{}, {"mode": "coarse", "propose": 1, "samples": 2}])
def test_no_evaluator_makes_more_calls_than_its_estimate(settings: dict[str, object]) -> None:
    held = evaluators(lambda: rule_model(marker_judge()), CRITERIA, **settings)  # type: ignore[arg-type]  # of that test
    told = estimate(PART, held, 100_000)
    for name, evaluator in held.items():
        found = evaluate(PART, evaluator, 100_000)
        assert found.fitting + found.scoring <= told.calls.get(name, 0)
        assert len(found.judged) == len(PART.unseen)
    assert set(held) - set(told.calls) == {"length"}
    assert estimate(PART, held, 50).calls["g-eval"] == 50


def test_the_control_learns_from_scores_dealt_out_to_other_texts() -> None:
    shown: list[str] = []

    def listening(messages: Sequence[Message], rng: random.Random) -> str:
        if "Find the criteria" in messages[0]["content"]:
            shown.append(messages[-1]["content"])
        return marker_judge()(messages, rng)

    held = evaluators(lambda: rule_model(listening), CRITERIA, mode="coarse")
    for name in ("active critic", "active critic, labels shuffled"):
        assert evaluate(PART, held[name], 5000).labels == len(PART.scores)
    told = [re.findall(r"Score of people: (\d)", text) for text in shown]
    half = len(told) // 2
    right, dealt = ([s for scores in part for s in scores] for part in (told[:half], told[half:]))
    assert right != dealt
