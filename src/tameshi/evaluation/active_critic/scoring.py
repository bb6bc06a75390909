"""Judging texts with a prompt: coarse, criterion by criterion, or all in one answer; once, or the mean of samples."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tameshi.evaluation.active_critic.prompts import Criterion, CriticPrompt, Example
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.judge import DATA, ScoreJudge, Verdict, fence, speaks_to_the_judge, without_instructions
from tameshi.evaluation.messages import Answer, Ask, Unanswered, Unparsed, system, user
from tameshi.evaluation.readers import read_json

if TYPE_CHECKING:
    from inspect_ai.model import Model


WARM = 1.0  # temperature of samples that are averaged (our choice); one alone is taken at 0


@dataclass(frozen=True)
class Judged:
    """What a critic says of one text.

    Args:
        score: on the scale, the mean of the samples; None if there is none.
        reason: in the critic's words, of the sample nearest to the mean; foreign text.
        criteria: criterion -> score, in the fine modes; means of the samples.
        unread: why there is no score.
        samples: the score of every sample that could be read.
    """

    score: float | None
    reason: str = ""
    criteria: Mapping[str, float] = field(default_factory=dict)
    unread: str = ""
    samples: tuple[float, ...] = ()


def judging(model: Model | Ask | str, *, samples: int = 1, **settings: Any) -> Asker:
    """Asks a model as texts are judged: at temperature 0, or warm where several samples are averaged.

    Args:
        model: as in `Asker`.
        samples: of each text.
        **settings: more for the `Asker`.
    """
    return Asker(model, **{"temperature": 0.0 if samples == 1 else WARM, **settings})


async def judge_all(
    ask: Asker, prompt: CriticPrompt, examples: Sequence[Example], *, seed: int = 0, samples: int = 1
) -> list[Judged]:
    """Judge many texts side by side, in their order."""
    return list(await asyncio.gather(*(judge_one(ask, prompt, e, seed=seed, samples=samples) for e in examples)))


def numbers(judged: Sequence[Judged]) -> NDArray[np.float64]:
    """(n,) the scores, NaN where there is none."""
    return np.array([np.nan if j.score is None else j.score for j in judged], dtype=np.float64)


async def judge_one(ask: Asker, prompt: CriticPrompt, example: Example, *, seed: int = 0, samples: int = 1) -> Judged:
    """Judge one text.

    Args:
        ask: the model; warm (see `judging`) where there is more than one sample.
        prompt, example: what is judged, and how.
        seed: of the order of demonstrations, which is another in every call.
        samples: whose scores are averaged; those that cannot be read are left out.

    Raises:
        ValueError: fewer than one sample.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    turns = [_Turn(ask, prompt, example, seed, turn) for turn in range(samples)]
    return mean_of(await asyncio.gather(*(_once(turn) for turn in turns)))


def mean_of(judged: Sequence[Judged]) -> Judged:
    """Several samples of one text as one: means of what could be read, and the reason of the sample nearest to the mean."""
    read = [j for j in judged if j.score is not None]
    if not read:
        return judged[0]
    scores = [float(j.score) for j in read if j.score is not None]
    mean = sum(scores) / len(scores)
    nearest = min(range(len(read)), key=lambda k: abs(scores[k] - mean))
    names = {name: True for j in read for name in j.criteria}
    criteria = {n: float(np.mean([j.criteria[n] for j in read if n in j.criteria])) for n in names}
    return Judged(mean, read[nearest].reason, criteria, samples=tuple(scores))


@dataclass(frozen=True)
class _Turn:
    """One sample of one text."""

    ask: Asker
    prompt: CriticPrompt
    example: Example
    seed: int
    turn: int

    @property
    def context(self) -> dict[str, str]:
        return {"source": self.example.source} if self.example.source else {}

    def rubric(self, criterion: Criterion | None = None) -> str:
        return self.prompt.rubric(self.example, criterion=criterion, seed=self.seed, turn=self.turn)

    def judge(self, rubric: str) -> ScoreJudge:
        scale = self.prompt.scale
        return ScoreJudge(self.ask, rubric, low=scale.low, high=scale.high, step=scale.step)


async def _once(turn: _Turn) -> Judged:
    if turn.prompt.mode == "single_call" and turn.prompt.criteria:
        return await _in_one(turn)
    if turn.prompt.mode == "fine" and turn.prompt.criteria:
        return await _fine(turn)
    return _of(await turn.judge(turn.rubric())(turn.example.output, **turn.context))


async def _fine(turn: _Turn) -> Judged:
    prompt, text = turn.prompt, turn.example.output
    verdicts = await asyncio.gather(*(turn.judge(turn.rubric(c))(text, **turn.context) for c in prompt.criteria))
    scores = {c.name: float(v.value) for c, v in zip(prompt.criteria, verdicts, strict=True) if isinstance(v, Verdict)}
    if not scores:
        return _of(verdicts[0])
    told = "\n".join(
        f"{c.name}: {v.value:g}. {v.reason}" if isinstance(v, Verdict) else f"{c.name}: not judged"
        for c, v in zip(prompt.criteria, verdicts, strict=True)
    )
    rubric = f"{turn.rubric()}\n\nThe criteria were judged before; sum these up in one overall score."
    overall = _of(await turn.judge(rubric)(text, **turn.context, **{"scores of the criteria": told}))
    return replace(overall, criteria=scores)


async def _in_one(turn: _Turn) -> Judged:
    ask, prompt, example = turn.ask, turn.prompt, turn.example
    names = [c.name for c in prompt.criteria]
    rules = (
        f"{turn.rubric()}\n\nScale: {prompt.scale.low:g} to {prompt.scale.high:g}. {DATA} Answer with JSON "
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
                overall = float(found["overall"])
                return Judged(overall, str(found.get("reason", "")), scores, samples=(overall,))
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
    return Judged(bounded, judged.reason, plain.criteria, samples=(bounded,))


def _of(found: Verdict | Unparsed | Unanswered) -> Judged:
    if isinstance(found, Verdict):
        return Judged(float(found.value), found.reason, samples=(float(found.value),))
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
