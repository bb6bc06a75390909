"""Stage 2: which prompt agrees best with people? Demonstrations drawn at random, then the instruction rewritten.

The first candidate shows no example; the others show one from each third of the scores, with the judge's own reason,
kept if its score lies within one point of the people's. Every candidate is compared on scored examples whose sources it
does not show: half of the labels, apart from those that demonstrations come from. With fewer than 12 labels (or four
sources) there is no half to spare, and each is compared on all examples of sources that it does not show. Of equals the
one with fewer demonstrations is taken. (The search, its sizes and the objective are our choice: the paper's were not
found.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tameshi.evaluation.active_critic import inference
from tameshi.evaluation.active_critic.agreement import Agreement, Floats, agreement
from tameshi.evaluation.active_critic.prompts import CriticPrompt, Demonstration, Example, Mode, Scale
from tameshi.evaluation.active_critic.rewriting import SEEN, rewrite
from tameshi.evaluation.active_critic.scoring import Judged, numbers
from tameshi.evaluation.asking import Asker

HALVED_FROM, SOURCES = 12, 4  # labels and sources from which demonstrations and selection are separate halves

Judges = Callable[[CriticPrompt, Sequence[Example]], Coroutine[Any, Any, list[Judged]]]
"""Judges texts with a prompt, in their order."""


@dataclass(frozen=True)
class Search:
    """How far is searched.

    Args:
        mode: of the prompts.
        candidates: prompts tried before any rewriting; the first has no demonstrations.
        demos: demonstrations, one from each third of the scores in turn.
        propose: rounds in which the instruction of the best prompt is rewritten.
        seed: of splits, candidates and orders.
    """

    mode: Mode
    candidates: int
    demos: int
    propose: int
    seed: int


@dataclass(frozen=True)
class Tried:
    """One candidate prompt and what it scored on the selection examples.

    Args:
        demonstrations: ids of the examples that it showed.
        shown: mean score of these; None without any.
        agreement: with people.
        mean: of its own scores.
        rewritten: the round of rewriting that it came from; 0 for none.
    """

    demonstrations: tuple[str, ...]
    shown: float | None
    agreement: Agreement
    mean: float
    rewritten: int = 0


@dataclass(frozen=True)
class Chosen:
    """What a search found.

    Args:
        prompt: the best.
        inferred: of stage 1.
        history: every prompt tried, in order.
        circular: names of criteria that were the overall score over again, and left out.
    """

    prompt: CriticPrompt
    inferred: inference.Inferred
    history: tuple[Tried, ...]
    circular: tuple[str, ...]


async def choose(
    ask: Asker, judge: Judges, examples: Sequence[Example], people: Floats, scale: Scale, search: Search
) -> Chosen:
    """Both stages.

    Args:
        ask: the model, for criteria and rewriting.
        judge: the same model, judging.
        examples, people: (n,) with the scores of people.
        scale: of the scores.
        search: how far.
    """
    rng = np.random.default_rng(search.seed)
    order = rng.permutation(len(examples))
    found = await inference.infer(ask, [examples[i] for i in order], [float(people[i]) for i in order])
    bare = CriticPrompt(found.task, found.criteria, (), scale, search.mode)
    pool, selection = _halves(examples, rng)
    drawn = [_terciles(pool, people, search.demos, rng) for _ in range(1, search.candidates)]
    trials = _Trials(ask, judge, examples, people, selection)
    await trials.add(bare)
    places = sorted({place for each in drawn for place in each})
    asked = [_demonstration(judge, bare, examples[i], float(people[i])) for i in places]
    known = dict(zip(places, await asyncio.gather(*asked), strict=True))
    for chosen in drawn:
        demos = tuple(d for place in chosen if (d := known[place]) is not None)
        if demos:
            await trials.add(replace(bare, demonstrations=demos))
    for turn in range(1, search.propose + 1):
        await _propose(trials, pool, rng, turn)
    if trials.best is None:
        return Chosen(bare, found, tuple(trials.history), ())
    circular = _circular(trials.best.judged) if len(bare.criteria) > 1 else ()
    best = trials.best.prompt
    kept = tuple(c for c in best.criteria if c.name not in circular) or best.criteria
    return Chosen(replace(best, criteria=kept), found, tuple(trials.history), circular)


def most_calls(count: int, sources: int, each: int, search: Search) -> dict[str, int]:
    """The most calls that a search makes, by what they are for; repairs and retries aside.

    Args:
        count: of labels.
        sources: that they come from.
        each: calls to judge one text.
        search: how far.
    """
    halved = count >= HALVED_FROM and sources >= SOURCES
    selection = count - count // 2 if halved else count
    demos = min((search.candidates - 1) * search.demos, count)
    return {
        "inference": inference.calls(count),
        "selection": (demos + search.candidates * selection) * each,
        "rewriting": search.propose * (1 + (min(SEEN, count) + selection) * each),
    }


def anchor(history: Sequence[Tried]) -> float | None:
    """Correlation of candidates' mean scores with the mean scores shown to them: near 1, the judge copies."""
    held = [(t.shown, t.mean) for t in history if t.shown is not None]
    if len(held) < 3:
        return None
    shown, mean = (np.array([h[k] for h in held]) for k in (0, 1))
    return float(np.corrcoef(shown, mean)[0, 1]) if np.ptp(shown) > 0 and np.ptp(mean) > 0 else None


@dataclass(frozen=True)
class _Best:
    rank: tuple[float, int]
    prompt: CriticPrompt
    judged: list[Judged]


class _Trials:
    """The prompts tried so far, and the best of them."""

    def __init__(
        self, ask: Asker, judge: Judges, examples: Sequence[Example], people: Floats, selection: Sequence[int]
    ) -> None:
        self.ask, self.judge, self.examples, self.people = ask, judge, examples, people
        self._selection = selection
        self.history: list[Tried] = []
        self.best: _Best | None = None

    def apart(self, places: Sequence[int], prompt: CriticPrompt) -> list[int]:
        """Those of the places whose source the prompt does not show."""
        shown = {d.example.group for d in prompt.demonstrations}
        return [i for i in places if self.examples[i].group not in shown]

    async def add(self, candidate: CriticPrompt, *, rewritten: int = 0) -> None:
        """Compare a prompt with the best so far. One that the budget cuts off in the middle does not count."""
        places = self.apart(self._selection, candidate)
        if len(places) < 2 or self.ask.ledger.left < 1:
            return
        judged = await self.judge(candidate, [self.examples[i] for i in places])
        if self.ask.ledger.left < 1 and any(j.score is None for j in judged):
            return
        told = agreement(self.people[places], numbers(judged))
        demos = candidate.demonstrations
        self.history.append(
            Tried(
                tuple(d.example.id for d in demos),
                float(np.mean([d.score for d in demos])) if demos else None,
                told,
                float(np.nanmean(numbers(judged))) if told.n else 0.0,
                rewritten,
            )
        )
        rank = (round(told.objective, 12), -len(demos))
        if self.best is None or rank > self.best.rank:
            self.best = _Best(rank, candidate, judged)


async def _propose(trials: _Trials, pool: Sequence[int], rng: np.random.Generator, turn: int) -> None:
    """One round of rewriting: the best prompt judges some examples of the pool, sees what people gave, and is said anew."""
    if trials.best is None or trials.ask.ledger.left < 1:
        return
    prompt = trials.best.prompt
    outside = trials.apart(pool, prompt)
    places = sorted(int(i) for i in rng.permutation(outside)[:SEEN])
    if not places:
        return
    seen = [trials.examples[i] for i in places]
    judged = await trials.judge(prompt, seen)
    said = await rewrite(trials.ask, prompt, seen, [float(trials.people[i]) for i in places], judged)
    if said is not None:
        await trials.add(said, rewritten=turn)


async def _demonstration(judge: Judges, bare: CriticPrompt, example: Example, score: float) -> Demonstration | None:
    """The example with the judge's own reason, kept if its score lies within one point of the people's."""
    (judged,) = await judge(bare, [example])
    if judged.score is None or abs(judged.score - score) > 1:
        return None
    return Demonstration(example, score, judged.reason)


def _halves(examples: Sequence[Example], rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Places for demonstrations and for selection: halves by source, or everything twice where labels are few."""
    everything = list(range(len(examples)))
    groups = sorted({e.group for e in examples})
    if len(examples) < HALVED_FROM or len(groups) < SOURCES:
        return everything, everything
    chosen: set[str] = set()
    taken = 0
    for g in rng.permutation(len(groups)):
        if taken >= len(examples) // 2:
            break
        chosen.add(groups[g])
        taken += sum(e.group == groups[g] for e in examples)
    return [i for i in everything if examples[i].group in chosen], [
        i for i in everything if examples[i].group not in chosen
    ]


def _terciles(pool: Sequence[int], people: Floats, count: int, rng: np.random.Generator) -> list[int]:
    """Places of demonstrations, one from each third of the pool's scores in turn."""
    ranked = sorted(pool, key=lambda i: (people[i], i))
    thirds = [list(part) for part in np.array_split(np.array(ranked), 3)]
    drawn: list[int] = []
    for turn in range(count):
        left = [i for i in thirds[turn % 3] if i not in drawn]
        if left:
            drawn.append(int(left[rng.integers(len(left))]))
    return drawn


def _circular(judged: Sequence[Judged]) -> tuple[str, ...]:
    """Criteria whose scores are the overall score over again."""
    read = [j for j in judged if j.score is not None and j.criteria]
    if len(read) < 5:
        return ()
    overall = np.array([j.score for j in read], dtype=np.float64)
    found = []
    for name in read[0].criteria:
        own = np.array([j.criteria.get(name, np.nan) for j in read])
        if (
            np.isfinite(own).all()
            and np.ptp(own) > 0
            and np.ptp(overall) > 0
            and abs(np.corrcoef(own, overall)[0, 1]) > 0.98
        ):
            found.append(name)
    return tuple(found) if len(found) < len(read[0].criteria) else ()
