"""Judging texts with a prompt: coarse, criterion by criterion, or all in one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tameshi.evaluation.active_critic.prompts import CriticPrompt, Example
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.judge import DATA, ScoreJudge, Verdict, fence, speaks_to_the_judge, without_instructions
from tameshi.evaluation.messages import Answer, Unanswered, Unparsed, system, user
from tameshi.evaluation.readers import read_json


@dataclass(frozen=True)
class Judged:
    """What a critic says of one text.

    Args:
        score: on the scale; None if there is none.
        reason: in the critic's words; foreign text.
        criteria: criterion -> score, in the fine modes.
        unread: why there is no score.
    """

    score: float | None
    reason: str = ""
    criteria: Mapping[str, float] = field(default_factory=dict)
    unread: str = ""


async def judge_all(ask: Asker, prompt: CriticPrompt, examples: Sequence[Example], *, seed: int = 0) -> list[Judged]:
    """Judge many texts side by side, in their order."""
    return list(await asyncio.gather(*(judge_one(ask, prompt, e, seed=seed) for e in examples)))


def numbers(judged: Sequence[Judged]) -> NDArray[np.float64]:
    """(n,) the scores, NaN where there is none."""
    return np.array([np.nan if j.score is None else j.score for j in judged], dtype=np.float64)


async def judge_one(ask: Asker, prompt: CriticPrompt, example: Example, *, seed: int = 0) -> Judged:
    """Judge one text."""
    context = {"source": example.source} if example.source else {}
    if prompt.mode == "single_call" and prompt.criteria:
        return await _in_one(ask, prompt, example, seed)
    if prompt.mode == "fine" and prompt.criteria:
        return await _fine(ask, prompt, example, context, seed)
    return _of(await _judge(ask, prompt, prompt.rubric(example, seed=seed))(example.output, **context))


async def _fine(ask: Asker, prompt: CriticPrompt, example: Example, context: Mapping[str, str], seed: int) -> Judged:
    verdicts = await asyncio.gather(
        *(
            _judge(ask, prompt, prompt.rubric(example, criterion=c, seed=seed))(example.output, **context)
            for c in prompt.criteria
        )
    )
    scores = {c.name: float(v.value) for c, v in zip(prompt.criteria, verdicts, strict=True) if isinstance(v, Verdict)}
    if not scores:
        return _of(verdicts[0])
    told = "\n".join(
        f"{c.name}: {v.value:g}. {v.reason}" if isinstance(v, Verdict) else f"{c.name}: not judged"
        for c, v in zip(prompt.criteria, verdicts, strict=True)
    )
    rubric = (
        f"{prompt.rubric(example, seed=seed)}\n\nThe criteria were judged before; sum these up in one overall score."
    )
    overall = _of(await _judge(ask, prompt, rubric)(example.output, **context, **{"scores of the criteria": told}))
    return Judged(overall.score, overall.reason, scores, overall.unread)


async def _in_one(ask: Asker, prompt: CriticPrompt, example: Example, seed: int) -> Judged:
    names = [c.name for c in prompt.criteria]
    rules = (
        f"{prompt.rubric(example, seed=seed)}\n\nScale: {prompt.scale.low:g} to {prompt.scale.high:g}. {DATA} Answer with JSON "
        f'alone: {{"reason": "...", "criteria": {{{", ".join(f"{chr(34)}{n}{chr(34)}: NUMBER" for n in names)}}}, '
        '"overall": NUMBER}'
    )

    async def once(text: str) -> Judged:
        source = [fence(example.source, "source")] if example.source else []
        asked = [system(rules), user("\n\n".join([*source, fence(text, "text under judgement")]))]
        unread = "not asked"
        for _ in range(2):
            told = await ask(asked)
            if not isinstance(told, Answer):
                return Judged(None, unread=told.reason)
            found = read_json(told.text, lambda v: _whole(v, names, prompt))
            if not isinstance(found, Unparsed):
                scores = {n: float(found["criteria"][n]) for n in names}
                return Judged(float(found["overall"]), str(found.get("reason", "")), scores)
            unread = found.reason
        return Judged(None, unread=unread)

    judged = await once(example.output)
    if judged.score is None or not speaks_to_the_judge(example.output):
        return judged
    plain = await once(without_instructions(example.output))
    if plain.score is None:
        return plain
    step = prompt.scale.step
    bounded = min(max(judged.score, plain.score - step), plain.score + step)
    return Judged(bounded, judged.reason, plain.criteria)


def _judge(ask: Asker, prompt: CriticPrompt, rubric: str) -> ScoreJudge:
    return ScoreJudge(ask, rubric, low=prompt.scale.low, high=prompt.scale.high, step=prompt.scale.step)


def _of(found: Verdict | Unparsed | Unanswered) -> Judged:
    if isinstance(found, Verdict):
        return Judged(float(found.value), found.reason)
    return Judged(None, unread=found.reason)


def _whole(value: Any, names: Sequence[str], prompt: CriticPrompt) -> bool:
    """All criteria and the overall score are there, as numbers on the scale."""
    if not isinstance(value, dict) or not isinstance(value.get("criteria"), dict):
        return False
    given = [value.get("overall"), *(value["criteria"].get(n) for n in names)]
    return all(
        isinstance(g, int | float) and not isinstance(g, bool) and prompt.scale.low <= g <= prompt.scale.high
        for g in given
    )
