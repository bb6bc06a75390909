"""ChineseEcomQA as an Inspect AI task: `inspect eval tameshi/chinese_ecom_qa -T path=FILE --model openai/...`."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, model_roles
from inspect_ai.scorer import (
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    Value,
    accuracy,
    grouped,
    mean,
    metric,
    scorer,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

import tameshi.evaluation.ecom_qa.rules  # noqa: F401  names the shoppers
from tameshi.evaluation.accounting import Ledger
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.ecom_qa.audit import trivial_scores
from tameshi.evaluation.ecom_qa.calibration import ASKED, calibration, expected_calibration_error, read_confidence
from tameshi.evaluation.ecom_qa.items import Item, load_ecomqa
from tameshi.evaluation.ecom_qa.judging import Grader, ReflectionJudge, kappa, reflections, score_with, too_long
from tameshi.evaluation.ecom_qa.retrieval import BM25, RETRIEVED, Retriever, with_passages
from tameshi.evaluation.ecom_qa.rules import shop_of
from tameshi.evaluation.ecom_qa.scoring import score_item
from tameshi.evaluation.ecom_qa.shop import each_task
from tameshi.evaluation.intervals import wilson
from tameshi.evaluation.messages import Unparsed
from tameshi.evaluation.nulls import beside, null_policies
from tameshi.evaluation.solving import answered, dataset, unscored, within


@task
def chinese_ecom_qa(
    path: str | None = None,
    tasks: str | Sequence[str] | None = None,
    judge_role: str = "grader",
    judge_all: bool = False,
    confidence: bool = False,
    thinking: bool = False,
    retriever: Retriever | str | None = None,
    k: int = 3,
    context: int | None = None,
    limit: int | None = None,
    max_calls: int | None = None,
    seed: int = 0,
) -> Task:
    """Ten concepts of Chinese e-commerce; the mean over the tasks is the leaderboard's.

    Args:
        path: the user's copy of the public file, or questions of a shop of one's own; a generated shop if left out.
        tasks: some of the ten tasks, with commas between; all if left out.
        judge_role: role of the model that grades free answers; without one they are matched, and flagged.
        judge_all: let it grade every task.
        confidence: ask for a stated confidence too.
        thinking: have the judge say which kind of reflection the reasoning before each answer shows.
        retriever: passages before the questions on categories and brands: any (query, k) -> list, the path of a file
            with one passage a line, or "shop".
        k: passages.
        context: tokens that the model can read; a question that may not fit is refused by its number, not cut in silence.
        limit: questions of each task.
        max_calls: hard cap on calls to the model and the judge, retries included.
        seed: of the generated shop.
    """
    items = shop_of(seed).items if path is None else load_ecomqa(path)
    wanted = tasks.split(",") if isinstance(tasks, str) else tasks
    if wanted is not None:
        if unknown := [t for t in wanted if t not in {i.task for i in items}]:
            raise ValueError(
                f"there are no questions on {unknown[0]!r}; there are {', '.join(sorted({i.task for i in items}))}"
            )
        items = [i for i in items if i.task in wanted]
    items = list(each_task(items, limit))
    if context is not None and (long := too_long(items, context)):
        raise ValueError(
            f"{len(long)} questions may be longer than {context:,} tokens: {', '.join(long[:5])}; leave out their task, or "
            "take a model that reads more"
        )
    find = _retriever(retriever, seed)
    judged = len(items) if judge_all else sum(i.kind == "free" for i in items)
    ledger = within(max_calls, target=len(items), judge=judged + thinking * len(items))
    nulls = {name: [float(s.correct) for s in scores] for name, scores in trivial_scores(items).items()}
    samples = []
    for index, item in enumerate(items):
        passages = find(item.prompt, k) if find is not None and item.task in RETRIEVED else []
        prompt = with_passages(item, passages) + (ASKED if confidence else "")
        chat: list[ChatMessage] = [ChatMessageUser(content=prompt)]
        if item.system.strip():
            chat.insert(0, ChatMessageSystem(content=item.system))
        metadata = {"task": item.task, "item": _plain(item), **beside(nulls, index)}
        samples.append(Sample(chat, target=list(item.golds), id=f"{item.task}-{item.id}", metadata=metadata))
    scorers = [ecom_scorer(judge_role, judge_all, confidence)]
    if confidence:
        scorers.append(stated_confidence())  # after the scorer whose verdict it reads
    if thinking:
        scorers.append(kinds_of_thinking(judge_role))
    scorers.append(null_policies())
    return Task(
        dataset=dataset(samples),
        solver=[bound(ledger), answered(ledger)],
        scorer=scorers,
        config=GenerateConfig(temperature=0),
    )


@solver
def bound(ledger: Ledger) -> Solver:
    """Hands the ledger of the task to its scorer, so that judge and target share one budget."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        _LEDGERS[state.uuid] = ledger
        return state

    return solve


_LEDGERS: WeakValueDictionary[str, Ledger] = WeakValueDictionary()  # a ledger lives as long as its task


@metric
def ci_wilson() -> Metric:
    """Wilson's 95 % interval of the accuracy, over all questions and on every task."""

    def compute(scores: list[SampleScore]) -> Value:
        found: dict[str, float] = {}
        names = [str((s.sample_metadata or {})["task"]) for s in scores]
        for name in ("", *sorted(set(names))):
            own = [s.score.as_float() for s, its in zip(scores, names, strict=True) if name in ("", its)]
            head = f"{name} " if name else ""
            found[f"{head}low"], found[f"{head}high"] = wilson(sum(own), len(own))
        return found

    return compute


@metric
def counted_apart() -> Metric:
    """Shares of answers that could not be read, of those that attempted nothing, and of free answers matched for want of
    a judge; F, the harmonic mean of accuracy over all and over the attempted; F1 over questions that want a set; where
    the judge grades every task, its agreement with the rules on labels and letters, as Cohen's kappa.
    """

    def compute(scores: list[SampleScore]) -> Value:
        if not scores:
            return {}
        found = [s.score.metadata or {} for s in scores]
        right, tried = sum(s.score.as_float() for s in scores), sum(bool(f.get("attempted")) for f in found)
        sets = [float(f["f1"]) for s, f in zip(scores, found, strict=True) if (s.sample_metadata or {})["task"] == "IC"]
        told = {
            "unparsed": sum(bool(f.get("unparsed")) for f in found) / len(found),
            "not_attempted": 1 - tried / len(found),
            "matched_without_a_judge": sum(bool(f.get("flagged")) for f in found) / len(found),
            "f": 2 * right / (len(found) + tried),
        }
        twice = [(bool(s.score.as_float()), f["by_rule"]) for s, f in zip(scores, found, strict=True) if "by_rule" in f]
        beyond = kappa([judge for judge, _ in twice], [rule for _, rule in twice]) if twice else None
        told |= {"set_f1": sum(sets) / len(sets)} if sets else {}
        return told | ({} if beyond is None else {"kappa_of_rules_and_judge": beyond})

    return compute


@scorer(
    metrics=[
        accuracy(),
        ci_wilson(),
        counted_apart(),
        grouped(accuracy(), "task", all="groups", all_label="macro"),
    ]
)
def ecom_scorer(judge_role: str = "grader", judge_all: bool = False, confidence: bool = False) -> Scorer:
    """Rules before the judge: 1 correct, 0 not; what could not be read is 0 and counted apart."""

    async def score(state: TaskState, target: Target) -> Score:
        if (silent := unscored(state)) is not None:
            return silent
        item, answer = _item(state), state.output.completion
        if confidence:
            answer, _ = read_confidence(answer)
        grader = _role(judge_role)
        ask = Grader(Asker(grader, role="judge", ledger=_LEDGERS.get(state.uuid))) if grader is not None else None
        scored = await score_with(ask, item, answer, judge_all=judge_all) if ask else score_item(item, answer)
        state.store.set("correct", scored.correct)
        metadata = {k: getattr(scored, k) for k in ("f1", "precision", "recall", "unparsed", "flagged", "attempted")}
        if ask is not None and judge_all and item.kind in ("label", "letter") and not scored.unparsed:
            metadata["by_rule"] = score_item(item, answer).correct
        return Score(
            value=float(scored.correct), answer=answer[:500], explanation=scored.unparsed or None, metadata=metadata
        )

    return score


@metric
def ece() -> Metric:
    """Expected calibration error in ten bins, and the accuracy in each bin that holds answers."""

    def compute(scores: list[SampleScore]) -> Value:
        held = [s.score.metadata or {} for s in scores]
        if not held:
            return {"ece": nan}
        stated, right = [f["confidence"] for f in held], [f["correct"] for f in held]
        bins = {f"accuracy at {100 * b.low:.0f}-{100 * b.high:.0f}": b.accuracy for b in calibration(stated, right)}
        return {"ece": expected_calibration_error(stated, right)} | bins

    return compute


@scorer(metrics=[mean(), ece()])
def stated_confidence() -> Scorer:
    """Stated confidence minus being right: above 0 is over-confident. Unscored where none was stated."""

    async def score(state: TaskState, target: Target) -> Score:
        if (silent := unscored(state)) is not None:
            return silent
        _, stated = read_confidence(state.output.completion)
        if isinstance(stated, Unparsed):
            return Score.unscored(explanation=stated.reason)
        right = bool(state.store.get("correct"))
        return Score(value=stated - right, metadata={"confidence": stated, "correct": right})

    return score


@metric
def shares_of_kinds() -> Metric:
    """Share of each kind of reflection among the chains that could be read."""

    def compute(scores: list[SampleScore]) -> Value:
        return {**reflections([str((s.score.metadata or {})["kind"]) for s in scores]).shares}

    return compute


@scorer(metrics=[shares_of_kinds()])
def kinds_of_thinking(judge_role: str = "grader") -> Scorer:
    """A, B, C or D of the paper's study of reasoning: 1 where the right answer stood in the end (A, B), 0 elsewhere.

    Unscored without a grader, or where no reasoning was shown.
    """

    async def score(state: TaskState, target: Target) -> Score:
        if (silent := unscored(state)) is not None:
            return silent
        grader, chain = _role(judge_role), str(state.store.get("reasoning") or "")
        if grader is None or not chain.strip():
            return Score.unscored(explanation="no grader" if grader is None else "the model showed no reasoning")
        judge = ReflectionJudge(Asker(grader, role="judge", ledger=_LEDGERS.get(state.uuid)))
        kind = await judge(_item(state), chain)
        if isinstance(kind, Unparsed):
            return Score.unscored(explanation=kind.reason)
        return Score(value=float(kind in "AB"), metadata={"kind": kind})

    return score


def _item(state: TaskState) -> Item:
    held = state.metadata["item"]
    return Item(**{**held, **{k: tuple(held[k]) for k in ("golds", "options")}})


def _role(name: str) -> Model | None:
    found = model_roles().get(name)
    return found[0] if isinstance(found, list) else found


def _plain(item: Item) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(item).items()}


def _retriever(given: Retriever | str | None, seed: int) -> Retriever | None:
    if given is None or callable(given):
        return given
    if given == "shop":
        return BM25(shop_of(seed).passages)
    try:
        lines = Path(given).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{given} must be a UTF-8 file with one passage a line: {error}") from error
    return BM25([line for line in lines if line.strip()])
