"""ChineseEcomQA: on a generated shop whose shoppers know a stated share of its facts, or on the user's file and models.

The public file has no licence and is never shipped; `--data ChineseEcomQA.jsonl` points to the user's copy. What needs
families of real models is out of reach here, and the option that brings it into reach is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tameshi.doors import files
from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import wait
from tameshi.evaluation.ecom_qa import construction, retrieval, scoring
from tameshi.evaluation.ecom_qa.audit import audit, trivial_scores
from tameshi.evaluation.ecom_qa.calibration import ASKED, read_confidence
from tameshi.evaluation.ecom_qa.construction import Benchmark, Candidate, Pipeline
from tameshi.evaluation.ecom_qa.items import TASKS, Item, load_ecomqa
from tameshi.evaluation.ecom_qa.judging import Grader, score_with
from tameshi.evaluation.ecom_qa.scoring import Scored, score_items
from tameshi.evaluation.ecom_qa.shop import Shop, Shopper, each_task, make_shop
from tameshi.evaluation.messages import Answer, Message, Unparsed, system, user
from tameshi.nouns import (
    AllOf,
    Beats,
    Items,
    Measurement,
    Missing,
    Orders,
    OutOfReach,
    Ratio,
    Reaches,
    Rows,
    Rule,
    apply,
    check,
    figure,
    measure,
)
from tameshi.specimens.endpoint import Endpoint

WEAK, STRONG = 0.25, 0.75


@check("chinese-ecom-qa", seeds=3)
def shoppers(
    *, knowledge: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0), per_task: int = 30, k: int = 3, seed: int = 0
) -> Iterator[Measurement]:
    """Shoppers who know a stated share of a generated shop's facts: does the score say so, and what does retrieval do?

    Args:
        knowledge: shares of the facts.
        per_task: questions on each of the ten tasks.
        k: passages that retrieval puts before a question.
    """
    shop = cache(partial(make_shop, seed, per_task=per_task))
    for share in knowledge:
        yield measure("shopper", partial(_answered, shop, share, seed), knowledge=share)
    for share in (WEAK, 0.5, STRONG):
        for name, find in FINDERS.items():
            yield measure(name, partial(_with_passages, shop, share, find, k, seed), knowledge=share)
    for name, find in FINDERS.items():
        yield measure(name, partial(_spread, shop, find, k, seed))


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
        grader: grades free answers; without it they are matched.
        data: your copy of the public file, or questions of your own in its form; left out, a generated shop.
        per_task: questions on each task of the generated shop.
        confidence: ask for a stated confidence too, on categories and brands.
        max_calls: of each model, in all; the run does not start if it could take more.
        limit: at most so many questions on each task.
    """
    asked = cache(partial(_questions, data, per_task, limit, seed))
    named = {"model": model, "larger": larger, "distilled": distilled}
    answers: dict[str, Callable[[], list[Scored | None]]] = {}
    for name, endpoint in named.items():
        if endpoint is not None:
            answers[name] = cache(partial(_asked, endpoint, grader, asked, max_calls, seed))
        elif name == "model" and data is None:
            answers[name] = cache(partial(_shopping, asked, seed))
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


@check("chinese-ecom-qa", seeds=3)
def cleaning(
    *, questions: int = 400, flawed: float = 0.2, accuracy: float = 0.85, people: float = 0.95, seed: int = 0
) -> Iterator[Measurement]:
    """Questions of which a known share is flawed, through the stages that are to remove them.

    Args:
        questions: how many are generated.
        flawed: share of them with a wrong answer or two possible ones, half each.
        accuracy: of each of three model votes.
        people: accuracy of the people at the end.
    """
    made = cache(partial(_generated, questions, flawed, seed))
    for name, stages in STAGES.items():
        yield measure(name, partial(_cleaned, made, stages, accuracy, people, seed))
    yield measure("random removal", partial(_removed_at_random, made, accuracy, people, seed))


def _correct(scored: Sequence[Scored | None]) -> Items:
    return Items(
        (Missing("no answer") if s is None else s.correct for s in scored),
        ids=(str(i) if s is None else s.item for i, s in enumerate(scored)),
    )


def _answered(shop: Callable[[], Shop], share: float, seed: int) -> dict[str, Any]:
    held, shopper = shop(), Shopper(shop(), share, seed=seed)
    scored = score_items(held.items, [shopper.answer(i) for i in held.items])
    found = scoring.summary(scored)
    return {"correct": _correct(scored), "macro": found.macro, "error": abs(found.macro - share)}


def _without(shop: Shop, item: Item, k: int, rng: np.random.Generator) -> list[str]:
    return []


def _retrieved(shop: Shop, item: Item, k: int, rng: np.random.Generator) -> list[str]:
    return _index(shop)(item.prompt, k)


def _random(shop: Shop, item: Item, k: int, rng: np.random.Generator) -> list[str]:
    return [shop.passages[i] for i in rng.integers(0, len(shop.passages), k)]


def _index(shop: Shop) -> retrieval.BM25:
    if id(shop) not in _INDEXES:
        _INDEXES.clear()
        _INDEXES[id(shop)] = (shop, retrieval.BM25(shop.passages))
    return _INDEXES[id(shop)][1]


_INDEXES: dict[int, tuple[Shop, retrieval.BM25]] = {}
FINDERS = {"without retrieval": _without, "with retrieval": _retrieved, "with random passages": _random}
Finder = Callable[[Shop, Item, int, np.random.Generator], list[str]]


def _read_with(shop: Shop, share: float, find: Finder, k: int, seed: int) -> list[Scored | None]:
    rng = np.random.default_rng([seed, 3])
    shopper = Shopper(shop, share, seed=seed)
    items = [i for i in shop.items if i.task in retrieval.RETRIEVED]
    return list(score_items(items, [shopper.answer(i, find(shop, i, k, rng)) for i in items]))


def _with_passages(shop: Callable[[], Shop], share: float, find: Finder, k: int, seed: int) -> dict[str, Items]:
    return {"answered": _correct(_read_with(shop(), share, find, k, seed))}


def _spread(shop: Callable[[], Shop], find: Finder, k: int, seed: int) -> dict[str, Items]:
    """How far a shopper who knows much stands above one who knows little, question by question."""
    strong, weak = (_read_with(shop(), share, find, k, seed) for share in (STRONG, WEAK))
    pairs = [(s, w) for s, w in zip(strong, weak, strict=True) if s is not None and w is not None]
    return {"gap": Items((float(s.correct) - float(w.correct) for s, w in pairs), ids=(s.item for s, _ in pairs))}


def _questions(data: Path | None, per_task: int, limit: int | None, seed: int) -> list[Item]:
    items = make_shop(seed, per_task=per_task).items if data is None else load_ecomqa(data)
    return list(each_task(items, limit))


def _shopping(asked: Callable[[], list[Item]], seed: int) -> list[Scored | None]:
    items = asked()
    shop = make_shop(seed, per_task=max(1, len(items) // len(TASKS)))
    shopper = Shopper(shop, STRONG, seed=seed)
    return list(score_items(items, [shopper.answer(i) for i in items]))


def _best_trivial(asked: Callable[[], list[Item]]) -> list[Scored | None]:
    """On each task the policy that scores highest there: the best that no model is needed for."""
    items, found = asked(), trivial_scores(asked())
    best = {}
    for task in TASKS:
        totals = {name: sum(s.correct for s in scores if s.task == task) for name, scores in found.items()}
        best[task] = max(totals, key=lambda name: totals[name])
    return [found[best[item.task]][place] for place, item in enumerate(items)]


def _of_task(scored: Callable[[], list[Scored | None]], asked: Callable[[], list[Item]], task: str) -> dict[str, Items]:
    pairs = [(i, s) for i, s in zip(asked(), scored(), strict=True) if i.task == task]
    silent = Missing("the model gave no answer")
    return {
        "correct": Items((silent if s is None else s.correct for _, s in pairs), ids=(i.id for i, _ in pairs)),
        "unparsed": Items((silent if s is None else bool(s.unparsed) for _, s in pairs), ids=(i.id for i, _ in pairs)),
    }


def _shuffled(
    scored: Callable[[], list[Scored | None]], asked: Callable[[], list[Item]], task: str, seed: int
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
    endpoint: Endpoint, grader: Endpoint | None, asked: Callable[[], list[Item]], max_calls: int, seed: int
) -> list[Scored | None]:
    items = asked()
    return [s for s, _ in _graded(endpoint, grader, items, max_calls, seed, confidence=False)]


def _graded(
    endpoint: Endpoint, grader: Endpoint | None, items: Sequence[Item], max_calls: int, seed: int, *, confidence: bool
) -> list[tuple[Scored | None, float | Unparsed]]:
    free = sum(i.kind == "free" for i in items) if grader is not None else 0
    Estimate({"target": len(items), "judge": free}).check(max_calls).announce()
    ledger = Ledger(max_calls)
    ask = endpoint.in_world(seed).asker(ledger=ledger, temperature=0)
    judge = None if grader is None else Grader(grader.asker(role="judge", ledger=ledger, temperature=0))

    async def one(item: Item) -> tuple[Scored | None, float | Unparsed]:
        told = await ask(_conversation(item, confidence=confidence))
        if not isinstance(told, Answer):
            return None, Unparsed(told.reason)
        text, stated = read_confidence(told.text) if confidence else (told.text, Unparsed("not asked"))
        scored = scoring.score_item(item, text) if judge is None else await score_with(judge, item, text)
        return scored, stated

    async def every() -> list[tuple[Scored | None, float | Unparsed]]:
        import asyncio

        return list(await asyncio.gather(*(one(i) for i in items)))

    return wait(every())


def _overconfident(
    endpoint: Endpoint, grader: Endpoint | None, asked: Callable[[], list[Item]], max_calls: int, seed: int
) -> dict[str, Items]:
    items = [i for i in asked() if i.task in retrieval.RETRIEVED]
    values: list[float | Missing] = []
    for scored, stated in _graded(endpoint, grader, items, max_calls, seed, confidence=True):
        if scored is None or isinstance(stated, Unparsed):
            values.append(Missing("no answer" if scored is None else str(getattr(stated, "reason", ""))))
        else:
            values.append(stated - scored.correct)
    return {"overconfidence": Items(values, ids=(i.id for i in items))}


Stages = tuple[bool, bool, bool]
CLEAN = "votes, retrieval and people"
STAGES: dict[str, Stages] = {
    "no check": (False, False, False),
    "model votes": (True, False, False),
    "votes and retrieval": (True, True, False),
    CLEAN: (True, True, True),
}


def _generated(questions: int, flawed: float, seed: int) -> tuple[list[Candidate], dict[str, bool], list[str]]:
    """Questions out of a shop's passages, which of them are flawed, and the passages."""
    shop = make_shop(seed, n_brands=max(2, min(800, questions // 3 + 1)), per_task=1)
    rng = np.random.default_rng([seed, 11])
    bad = set(rng.permutation(questions)[: round(flawed * questions)].tolist())
    ambiguous = set(sorted(bad)[::2])
    made, truth = [], {}
    facts = [(b, kind) for b in shop.brands for kind in ("country", "year", "category")][:questions]
    for index, (brand, kind) in enumerate(facts):
        asked = {"country": "的发源地是哪个国家？", "year": "创立于哪一年？", "category": "的主营类目是什么？"}[kind]
        answers = {"country": brand.country, "year": f"{brand.year}年", "category": brand.category}
        subject, answer = f"{brand.name}品牌", answers[kind]
        if index in ambiguous:
            subject = f"第{index}份名单中的那个品牌"
        elif index in bad:
            other = shop.brands[(index // 3 + 7) % len(shop.brands)]
            answer = {"country": other.country, "year": f"{other.year + 101}年", "category": other.category}[kind]
        snippet = f"{brand.name}：{brand.country}，{brand.year}年，{brand.category}"
        made.append(Candidate(str(index), snippet, f"***query***：{subject}{asked}", answer))
        truth[str(index)] = index not in bad
    return made, truth, shop.passages


def _cleaned(
    generated: Callable[[], tuple[list[Candidate], dict[str, bool], list[str]]],
    stages: Stages,
    accuracy: float,
    people: float,
    seed: int,
) -> dict[str, Items]:
    made, truth, passages = generated()
    votes, retrieved, human = stages
    by_snippet: dict[str, list[Candidate]] = {}
    for candidate in made:
        by_snippet.setdefault(candidate.snippet, []).append(candidate)
    pipeline = Pipeline(
        generate=lambda snippet: by_snippet[snippet],
        validators=[partial(_vote, truth, accuracy, seed, place) for place in range(3)] if votes else (),
        retriever=retrieval.BM25(passages) if retrieved else None,
        reader=_read if retrieved else None,
    )
    found: Benchmark = pipeline.run(list(by_snippet), seed=seed)
    if human:
        found = found.decided({r.candidate.id: _vote(truth, people, seed, 99, r.candidate) for r in found.for_people})
    return _fates({c.id for c in found.kept}, truth)


def _vote(truth: dict[str, bool], accuracy: float, seed: int, place: int, candidate: Candidate) -> bool:
    """Right with the stated chance, and the same each time it is asked."""
    rng = np.random.default_rng([seed, place, int(candidate.id)])
    return truth[candidate.id] == (rng.random() < accuracy)


def _read(candidate: Candidate, passages: Sequence[str]) -> str:
    from tameshi.evaluation.ecom_qa.shop import read_passages

    item = Item(candidate.id, "BC", "", candidate.question, (candidate.answer,), "free")
    return read_passages(item, passages) or ""


def _removed_at_random(
    generated: Callable[[], tuple[list[Candidate], dict[str, bool], list[str]]],
    accuracy: float,
    people: float,
    seed: int,
) -> dict[str, Items]:
    """As many questions as the whole of the stages removes, drawn blindly."""
    _, truth, _ = generated()
    found = _cleaned(generated, STAGES[CLEAN], accuracy, people, seed)
    flawed, lost = (found[name].values for name in ("flawed kept", "good lost"))
    kept = sum(v == 1 for v in flawed) + sum(v == 0 for v in lost)
    chosen = np.random.default_rng([seed, 13]).permutation(sorted(truth))[:kept]
    return _fates({str(c) for c in chosen}, truth)


def _fates(kept: set[str], truth: dict[str, bool]) -> dict[str, Items]:
    bad, good = ([c for c, fine in truth.items() if fine == wanted] for wanted in (False, True))
    return {
        "flawed kept": Items((c in kept for c in bad), ids=bad),
        "good lost": Items((c not in kept for c in good), ids=good),
    }


def _beyond(claim: str, en: str, ja: str, option: str, then: Rule) -> Rule:
    return OutOfReach(claim=claim, reason={"en": en, "ja": ja}, option=option, then=then)


RULES: list[Rule] = [
    AllOf(
        "C1",
        (
            Beats(
                claim="C1", method="model", baseline="trivial policy", metric="correct", better="higher",
                check="separation", each=("task",), control=("model, golds shuffled",),
            ),
            Orders(claim="C1", method="shopper", metric="correct", along="knowledge", direction="rises", check="shoppers"),
        ),
    ),
    _beyond(
        "C2",
        "two sizes of one family of real models are needed, and none ships.",
        "同じ系列の大小二つの実モデルが必要で、同梱していない。",
        "--model openai/SMALL --larger openai/LARGE --data ChineseEcomQA.jsonl",
        Beats(claim="C2", method="larger", baseline="model", metric="correct", better="higher", check="separation"),
    ),
    _beyond(
        "C3",
        "a model and its distillation for reasoning are needed, and none ships.",
        "元のモデルと、それを推論向けに蒸留したモデルが必要で、同梱していない。",
        "--model openai/BASE --distilled openai/ITS-DISTILLATION --data ChineseEcomQA.jsonl",
        Beats(claim="C3", method="distilled", baseline="model", metric="correct", better="lower", check="separation"),
    ),
    AllOf(
        "C4",
        (
            Beats(
                claim="C4", method="with retrieval", baseline="without retrieval", metric="answered", better="higher",
                check="shoppers", each=("knowledge",), control=("with random passages",),
            ),
            Beats(
                claim="C4", method="with retrieval", baseline="without retrieval", metric="gap", better="lower",
                by=Ratio(0.5), check="shoppers", control=("with random passages",),
            ),
        ),
    ),
    _beyond(
        "C5",
        "stated confidence means something only from real models, and two sizes of one are needed.",
        "確信度の申告は実モデルでなければ意味がなく、同じ系列の大小二つが必要である。",
        "--model openai/SMALL --larger openai/LARGE --confidence --data ChineseEcomQA.jsonl",
        AllOf(
            "C5",
            (
                Reaches(claim="C5", method="model", target=0.0, metric="overconfidence", better="higher", check="separation"),
                Beats(
                    claim="C5", method="larger", baseline="model", metric="overconfidence", better="lower",
                    check="separation",
                ),
            ),
        ),
    ),
    AllOf(
        "C6",
        (
            Beats(
                claim="C6", method=CLEAN, baseline="no check", metric="flawed kept", better="lower", by=Ratio(0.1),
                check="cleaning", control=("random removal",),
            ),
            Reaches(claim="C6", method=CLEAN, target=0.15, metric="good lost", better="lower", check="cleaning"),
        ),
    ),
]  # fmt: skip


@figure("chinese-ecom-qa", en="What no model is needed for, task by task", ja="モデルなしで取れる点（課題別）")
def beside_trivial(rows: Rows) -> Any:
    held = rows.where(check="separation", metric="correct")
    tasks = [str(t) for t in held.levels("task")]
    if not tasks:
        return None
    made, axes = _axes("", "accuracy")
    names = [m for m in ("trivial policy", "model", "larger", "distilled") if m in held.methods]
    width = 0.8 / len(names)
    for shift, name in enumerate(names):
        means = [held.where(method=name, task=t).mean("correct") for t in tasks]
        axes.bar([x + shift * width for x in range(len(tasks))], means, width=width, label=name)
    axes.set_xticks([x + 0.4 - width / 2 for x in range(len(tasks))], tasks)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    return made


@figure("chinese-ecom-qa", en="Retrieval lifts whoever knows little", ja="検索は知識の少ない者ほど押し上げる")
def lifted(rows: Rows) -> Any:
    held = rows.where(check="shoppers", metric="answered")
    levels = [float(level) for level in held.levels("knowledge")]
    if not levels:
        return None
    made, axes = _axes("share of the facts that is known", "accuracy on categories and brands")
    for name in held.methods:
        means = [held.where(method=name, knowledge=level).mean("answered") for level in levels]
        axes.plot(levels, means, marker="o", label=name)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    return made


@figure("chinese-ecom-qa", en="Flawed questions left after each stage", ja="各段階のあとに残る欠陥問題")
def stages(rows: Rows) -> Any:
    held = rows.where(check="cleaning")
    if not len(held):
        return None
    made, axes = _axes("", "share")
    names = [n for n in (*STAGES, "random removal") if n in held.methods]
    for shift, metric in enumerate(("flawed kept", "good lost")):
        means = [held.where(method=n).mean(metric) for n in names]
        axes.barh([y + 0.4 * shift for y in range(len(names))], means, height=0.4, label=metric)
    axes.set_yticks([y + 0.2 for y in range(len(names))], names)
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return made


def _axes(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    made = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = made.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes


@apply("chinese-ecom-qa")
def look(data: Path, *, answers: Path | None = None, output: Path | None = None) -> str:
    """Audit a file of questions, and score answers to them without a judge.

    Args:
        data: your copy of the public file, or questions of your own in its form.
        answers: answers in the order of the questions: JSON lines, each a text or an object with "answer".
        output: a JSON file for the scores of every question.
    """
    items = load_ecomqa(data)
    told = str(audit(items))
    if answers is None:
        return told
    scored = score_items(items, _read_answers(answers, len(items)))
    if output is not None:
        files.write(output, "".join(json.dumps(vars(s), ensure_ascii=False) + "\n" for s in scored))
    return f"{told}\n\n{scoring.summary(scored).table()}"


def _read_answers(path: Path, count: int) -> list[str]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} must hold one JSON value a line: {error}") from error
    given = [line.get("answer") if isinstance(line, dict) else line for line in lines]
    found = [answer for answer in given if isinstance(answer, str)]
    if len(found) != count or len(given) != count:
        raise ValueError(
            f'{path} must hold {count} answers, each a text or an object with "answer"; it holds {len(found)}'
        )
    return found


@apply("chinese-ecom-qa", name="build")
def build(
    snippets: Path,
    output: Path,
    *,
    model: str = "specimen:shop-builder",
    validator: str = "",
    references: tuple[str, ...] = (),
    per_snippet: int = 2,
    max_calls: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Build a benchmark out of a corpus of yours; every question is written with the record of what happened to it.

    Args:
        snippets: a UTF-8 file with one snippet a line; they are also what retrieval searches.
        output: a JSON-lines file for the records.
        model: writes the questions, and answers from passages.
        validator: votes three times on each question; the same model if left out.
        references: models that answer without passages; from three on, what all get right is dropped as too easy.
        per_snippet: questions for each snippet, at most.
        max_calls: in all; nothing is sent if more could be needed.
    """
    from tameshi.evaluation.ecom_qa import builders

    try:
        lines = [line.strip() for line in snippets.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{snippets} must be a UTF-8 file with one snippet a line: {error}") from error
    if not lines:
        raise ValueError(f"{snippets} holds no snippet")
    at_most = len(lines) * per_snippet
    estimate = Estimate(
        {"writer": len(lines), "validator": 3 * at_most, "reader": at_most, "references": len(references) * at_most}
    )
    estimate.check(max_calls).announce()
    ledger = Ledger(max_calls)
    writes = Endpoint.open(model).in_world(seed)
    votes = Endpoint.open(validator).in_world(seed) if validator else writes
    asks = [Endpoint.open(r).in_world(seed).asker(role="reference", ledger=ledger) for r in references]
    pipeline = Pipeline(
        generate=builders.writer(writes.asker(role="writer", ledger=ledger), count=per_snippet),
        validators=[builders.voter(votes.asker(role="validator", ledger=ledger, temperature=0.7)) for _ in range(3)],
        retriever=retrieval.BM25(lines),
        reader=builders.reader(writes.asker(role="reader", ledger=ledger)),
        references=[builders.reader(ask) for ask in asks],
    )
    found = pipeline.run(lines, seed=seed)
    files.write(
        output, "".join(json.dumps(construction.to_record(r), ensure_ascii=False) + "\n" for r in found.records)
    )
    return {"kept": len(found.kept), "for people": len(found.for_people), **found.counts(), "calls": dict(ledger.calls)}
