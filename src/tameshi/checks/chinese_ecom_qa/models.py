"""Models beside the policies that need no model, task by task, and how sure of themselves they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.ecom_qa import retrieval, scoring
from tameshi.evaluation.ecom_qa.audit import trivial_scores
from tameshi.evaluation.ecom_qa.calibration import ASKED, read_confidence
from tameshi.evaluation.ecom_qa.items import TASKS, Item, load_ecomqa
from tameshi.evaluation.ecom_qa.judging import SAMPLE, Agreement, Grader, rules_beside_judge, score_with
from tameshi.evaluation.ecom_qa.literal import literal_judge
from tameshi.evaluation.ecom_qa.scoring import Scored, score_items
from tameshi.evaluation.ecom_qa.shop import MOST_PER_TASK, Shopper, each_task, make_shop
from tameshi.evaluation.messages import Answer, Message, Unparsed, system, user
from tameshi.nouns import Items, Measurement, Missing, check, measure
from tameshi.specimens.endpoint import Endpoint

KNOWN = 0.75  # share of the shop that the default subject knows


@check("chinese-ecom-qa", seeds=3)
def separation(
    model: Endpoint | None = None,
    *,
    larger: Endpoint | None = None,
    distilled: Endpoint | None = None,
    grader: Endpoint | None = None,
    data: Path | None = None,
    per_task: int = 60,
    confidence: bool = False,
    max_calls: int = 4000,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """A model beside the policies that need no model, task by task.

    Args:
        model: an endpoint or folder of your own; left out, a shopper who knows three quarters of the shop.
        larger: a larger model of the same family.
        distilled: the same model after distillation for reasoning.
        grader: grades free answers, and 100 others to be held against the rules; without it free answers are matched.
        data: your copy of the public file, or questions of your own in its form; left out, a generated shop.
        per_task: questions on each task of the generated shop.
        confidence: ask for a stated confidence too, on categories and brands.
        max_calls: of each model, in all; the run does not start if it could take more.
        limit: at most so many questions on each task.
    """
    if not 1 <= per_task <= MOST_PER_TASK:
        raise ValueError(f"--per-task must be 1 to {MOST_PER_TASK}, got {per_task}")
    asked = cache(partial(_questions, data, per_task, limit, seed))
    named = {"model": model, "larger": larger, "distilled": distilled}
    told: dict[str, Callable[[], Told]] = {}
    for name, endpoint in named.items():
        if endpoint is not None:
            told[name] = cache(partial(_asked, endpoint, grader, asked, max_calls, seed))
        elif name == "model" and data is None:
            told[name] = cache(partial(_shopping, asked, seed))
    answers = {name: partial(_scores, found) for name, found in told.items()}
    if "model" in told and (model is None or grader is not None):
        yield measure("rules beside a judge", partial(_beside_judge, told["model"]))
    tasks = TASKS if data is None else sorted({i.task for i in asked()})
    trivial = cache(partial(_best_trivial, asked))
    for task in tasks:
        for name, found in answers.items():
            yield measure(name, partial(_of_task, found, asked, task), task=task)
        if "model" in answers:
            yield measure("model, golds shuffled", partial(_shuffled, answers["model"], asked, task, seed), task=task)
        yield measure("trivial policy", partial(_of_task, trivial, asked, task), task=task)
    for name, endpoint in named.items():
        if confidence and endpoint is not None:
            yield measure(name, partial(_overconfident, endpoint, grader, asked, max_calls, seed), asked="confidence")


def _questions(data: Path | None, per_task: int, limit: int | None, seed: int) -> list[Item]:
    items = make_shop(seed, per_task=per_task).items if data is None else load_ecomqa(data)
    return list(each_task(items, limit))


@dataclass(frozen=True)
class Told:
    """What one subject answered: scores (None where no answer came), confidence, and what a judge makes of the rules."""

    scored: Sequence[Scored | None]
    confidence: Sequence[float | Unparsed]
    agreement: Agreement | None


def _scores(told: Callable[[], Told]) -> Sequence[Scored | None]:
    return told().scored


def _shopping(asked: Callable[[], list[Item]], seed: int) -> Told:
    """The default subject, and a judge that needs no model beside the rules."""
    items = asked()
    shop = make_shop(seed, per_task=max(1, len(items) // len(TASKS)))
    shopper = Shopper(shop, KNOWN, seed=seed)
    answers = [shopper.answer(i) for i in items]
    agreement = wait(rules_beside_judge(Grader(Asker(literal_judge, role="judge")), items, answers, seed=seed))
    return Told(score_items(items, answers), (), agreement)


def _beside_judge(told: Callable[[], Told]) -> dict[str, Items | float | Missing]:
    """Whether the two agree, answer by answer; Cohen's kappa; the judge's calls that the rules save."""
    found = told().agreement
    assert found is not None
    agrees = Items((a == b for a, b in zip(found.rules, found.judge, strict=True)), ids=found.items)
    kappa = Missing("one of the two always says the same") if found.kappa is None else found.kappa
    return {"agrees": agrees, "kappa": kappa, "calls_saved": found.saved}


def _best_trivial(asked: Callable[[], list[Item]]) -> list[Scored | None]:
    """On each task the policy that scores highest there: the best that no model is needed for."""
    items, found = asked(), trivial_scores(asked())
    best = {}
    for task in TASKS:
        totals = {name: sum(s.correct for s in scores if s.task == task) for name, scores in found.items()}
        best[task] = max(totals, key=lambda name: totals[name])
    return [found[best[item.task]][place] for place, item in enumerate(items)]


def _of_task(
    scored: Callable[[], Sequence[Scored | None]], asked: Callable[[], list[Item]], task: str
) -> dict[str, Items]:
    pairs = [(i, s) for i, s in zip(asked(), scored(), strict=True) if i.task == task]
    silent = Missing("the model gave no answer")
    return {
        "correct": Items((silent if s is None else s.correct for _, s in pairs), ids=(i.id for i, _ in pairs)),
        "unparsed": Items((silent if s is None else bool(s.unparsed) for _, s in pairs), ids=(i.id for i, _ in pairs)),
    }


def _shuffled(
    scored: Callable[[], Sequence[Scored | None]], asked: Callable[[], list[Item]], task: str, seed: int
) -> dict[str, Items]:
    """The model's right and wrong answers dealt out to other questions: what remains of a score that is about nothing.

    An answer that was right counts where the question it lands on has the same gold.
    """
    items = [i for i in asked() if i.task == task]
    held = [s for i, s in zip(asked(), scored(), strict=True) if i.task == task]
    order = np.random.default_rng([seed, 5]).permutation(len(items))
    values = []
    for place, other in enumerate(order):
        answer = held[other]
        same = set(items[place].golds) & set(items[other].golds)
        values.append(Missing("the model gave no answer") if answer is None else float(answer.correct and bool(same)))
    return {"correct": Items(values, ids=(i.id for i in items))}


def _conversation(item: Item, *, confidence: bool = False) -> list[Message]:
    asked = user(item.prompt + (ASKED if confidence else ""))
    return [system(item.system), asked] if item.system.strip() else [asked]


def _asked(
    endpoint: Endpoint,
    grader: Endpoint | None,
    asked: Callable[[], list[Item]],
    max_calls: int,
    seed: int,
    *,
    confidence: bool = False,
) -> Told:
    """Ask every question once; free answers go to the grader, and so does a sample of the others."""
    items = asked()
    free = sum(i.kind == "free" for i in items) if grader is not None else 0
    beside = 0 if grader is None or confidence else min(SAMPLE, sum(i.kind in ("label", "letter") for i in items))
    Estimate({"target": len(items), "judge": free + beside}).check(max_calls).announce()
    ledger = Ledger(max_calls)
    ask = endpoint.in_world(seed).asker(ledger=ledger, temperature=0)
    judge = None if grader is None else Grader(grader.asker(role="judge", ledger=ledger, temperature=0))

    async def one(item: Item) -> tuple[str | None, Scored | None, float | Unparsed]:
        told = await ask(_conversation(item, confidence=confidence))
        if not isinstance(told, Answer):
            return None, None, Unparsed(told.reason)
        text, stated = read_confidence(told.text) if confidence else (told.text, Unparsed("not asked"))
        scored = scoring.score_item(item, text) if judge is None else await score_with(judge, item, text)
        return text, scored, stated

    async def every() -> Told:
        found = await asyncio.gather(*(one(i) for i in items))
        texts = [text for text, _, _ in found]
        agreement = await rules_beside_judge(judge, items, texts, seed=seed) if judge is not None and beside else None
        return Told([s for _, s, _ in found], [c for _, _, c in found], agreement)

    return wait(every())


def _overconfident(
    endpoint: Endpoint, grader: Endpoint | None, asked: Callable[[], list[Item]], max_calls: int, seed: int
) -> dict[str, Items]:
    items = [i for i in asked() if i.task in retrieval.RETRIEVED]
    told = _asked(endpoint, grader, lambda: items, max_calls, seed, confidence=True)
    stated: list[float | Missing] = []
    over: list[float | Missing] = []
    for scored, confidence in zip(told.scored, told.confidence, strict=True):
        if scored is None or isinstance(confidence, Unparsed):
            missing = Missing("no answer" if scored is None else str(getattr(confidence, "reason", "")))
            stated.append(missing)
            over.append(missing)
        else:
            stated.append(confidence)
            over.append(confidence - scored.correct)
    ids = [i.id for i in items]
    return {"overconfidence": Items(over, ids=ids), "stated": Items(stated, ids=ids)}
