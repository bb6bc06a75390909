"""Active-Critic: the procedure in a world where the answer is known, its plumbing, and the user's own rated texts.

Language skill cannot be shown on two cores; whether inferring criteria from few labels *can* work, and what the score
on the selection examples is worth, can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from tameshi.doors import files, models
from tameshi.evaluation.accounting import Ledger
from tameshi.evaluation.active_critic import baselines, world
from tameshi.evaluation.active_critic.agreement import agreement, contributions
from tameshi.evaluation.active_critic.critic import ActiveCritic
from tameshi.evaluation.active_critic.data import read_rated
from tameshi.evaluation.active_critic.held_out import Evaluator, Split, estimate, evaluate, evaluators, split
from tameshi.evaluation.active_critic.marked import marked_texts, marker_judge
from tameshi.evaluation.active_critic.prompts import Criterion, Mode, Scale
from tameshi.nouns import (
    AllOf,
    Beats,
    Difference,
    Items,
    Measurement,
    Missing,
    OutOfReach,
    Reaches,
    Rows,
    Rule,
    apply,
    check,
    figure,
    measure,
)
from tameshi.specimens.endpoint import Endpoint

SHUFFLED = ("inferred", "active critic")  # run again with the labels dealt out to other texts


GAINS = {  # what each part adds, world by world
    "inferring the criteria": ("inferred", "passive", False),
    "inferring the criteria, labels shuffled": ("inferred", "passive", True),
    "choosing the prompt": ("active critic", "inferred", False),
}


@check("active-critic")
def simulated(
    *, labels: tuple[int, ...] = (5, 10, 20, 40), worlds: int = 200, limit: int | None = None, seed: int = 0
) -> Iterator[Measurement]:
    """Which criteria do scores reward? Texts with eight qualities of which people reward three; one item is one world.

    Args:
        labels: how many scored texts may be looked at.
        worlds: drawn anew.
        limit: at most so many worlds.
    """
    count = worlds if limit is None else min(worlds, limit)
    seeds = range(seed * worlds, seed * worlds + count)
    for n in labels:
        for method in world.METHODS:
            yield measure(method, partial(_simulated, method, n, seeds), labels=n)
        for method in SHUFFLED:
            yield measure(f"{method}, labels shuffled", partial(_simulated, method, n, seeds, shuffled=True), labels=n)
        for name, (better, worse, shuffled) in GAINS.items():
            yield measure(name, partial(_gained, better, worse, n, seeds, shuffled), labels=n)


@check("active-critic")
def critics(
    model: Endpoint | None = None,
    *,
    data: Path | None = None,
    malformed: tuple[float, ...] = (0.0, 0.1),
    score: str = "score",
    scale: tuple[float, ...] = (),
    criteria: str = "",
    train: float = 0.25,
    mode: str = "fine",
    propose: int = 0,
    samples: int = 1,
    max_calls: int = 5000,
    ratings: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """A judge of your own on rated texts of your own, every evaluator on the same held-out texts.

    Without them, the whole critic is run through Inspect AI on forty planted texts, with a scripted judge that counts
    words.

    Args:
        model: the judge: an endpoint or a folder.
        data: CSV or JSON file with source, output and score.
        malformed: shares of the scripted judge's answers that cannot be read.
        score: column of the score; several with commas between are averaged.
        scale: its ends, as "1,5", where the scores do not tell.
        criteria: your rubric for the fixed judge, as "name: definition; name: definition".
        train: share of the sources that the critic learns from.
        mode: of the critic: fine, single_call or coarse.
        propose: rounds in which the critic rewrites its instruction.
        samples: of each of the critic's judgements, averaged.
        max_calls: of the judge, for each evaluator; the estimate over all is told first.
        ratings: CSV file with people's ratings (1 to 5) of the critic's explanations, column "rating".
        limit: at most so many texts.
    """
    if ratings is not None:
        yield measure("explanations", partial(_ratings, ratings))
    if (model is None) != (data is None):
        raise ValueError("--model and --data go together: a judge, and the rated texts that it is held against")
    if model is None or data is None:
        if ratings is not None:
            return
        for share in malformed:
            yield measure("scripted judge", partial(_planted, 40, share, seed), malformed=share)
        return
    part = cache(partial(_rated, data, score, _ends(scale), limit, train, seed))
    judge = model.in_world(seed)
    held = evaluators(
        lambda: judge.model, _criteria(criteria), mode=_mode(mode), propose=propose, samples=samples, seed=seed
    )
    if model.folder is not None:  # only a model at hand tells the probability of a text
        held["gptscore"] = Evaluator(partial(_gptscore, model), lambda part: 0)
    announce = cache(lambda: estimate(part(), held, max_calls).announce())
    for name, evaluator in held.items():
        yield measure(name, partial(_evaluated, part, evaluator, max_calls, announce))


def _gptscore(model: Endpoint, part: Split, ledger: Ledger) -> baselines.GPTScore:
    assert model.folder is not None
    return baselines.GPTScore(*models.causal_lm(models.look_at(model.folder), device=model.device, dtype=model.dtype))


def _mode(mode: str) -> Mode:
    if mode not in get_args(Mode):
        raise ValueError(f"--mode takes fine, single_call or coarse, got {mode!r}")
    return cast(Mode, mode)


def _ends(scale: tuple[float, ...]) -> tuple[float, float] | None:
    if len(scale) not in (0, 2):
        raise ValueError(f"--scale takes two numbers, as in --scale 1,5, got {len(scale)}")
    return (scale[0], scale[1]) if scale else None


def _simulated(method: str, labels: int, seeds: Sequence[int], *, shuffled: bool = False) -> dict[str, Items]:
    found = [world.outcome(method, _world(s), labels, seed=s, shuffled=shuffled) for s in seeds]
    told = {"agreement": Items((f.test for f in found), ids=seeds)}
    if all(f.selection is not None for f in found):
        told["selection score"] = Items((f.selection or 0.0 for f in found), ids=seeds)
        told["optimism"] = Items(((f.selection or 0.0) - f.test for f in found), ids=seeds)
    return told


def _gained(better: str, worse: str, labels: int, seeds: Sequence[int], shuffled: bool) -> dict[str, Items]:
    pairs = [
        [world.outcome(m, _world(s), labels, seed=s, shuffled=shuffled).test for m in (better, worse)] for s in seeds
    ]
    return {"gain": Items((high - low for high, low in pairs), ids=seeds)}


_world = cache(world.draw)


def _planted(texts: int, malformed: float, seed: int) -> dict[str, Any]:
    from tameshi.evaluation.provider import rule_model

    examples, scores = marked_texts(seed, texts)
    half = texts // 2
    judge = rule_model(marker_judge(malformed=malformed), seed=seed)
    critic = ActiveCritic(judge, nested=0, max_calls=5000, random_state=seed)
    critic.fit(examples[:half], scores[:half])
    judged = critic.predict(examples[half:])
    held = agreement(scores[half:], judged)
    return {
        "spearman": held.spearman,
        "calls": float(critic.n_calls_),
        "calls predicted": float(_predicted(critic)),
        "calls at most": float(critic.estimate(half, criteria=len(critic.criteria_)).total),
        "unread": held.unread / max(1, held.n + held.unread),
    }


def _predicted(critic: ActiveCritic) -> int:
    """What a fit without malformed answers costs, by what it says it did."""
    each, tried = critic.prompt_.calls, critic.selection_history_
    shown = {place for t in tried for place in t.demonstrations}
    judged = sum(t.agreement.n + t.agreement.unread for t in tried)
    return 2 * critic.inferred_.batches + (len(shown) + judged) * each


def _rated(
    data: Path, score: str, ends: tuple[float, float] | None, limit: int | None, train: float, seed: int
) -> Split:
    examples, scores = read_rated(data, score=score)
    examples, scores = examples[:limit], scores[:limit]
    return split(examples, scores, train=train, scale=Scale.of(scores, ends), seed=seed)


def _criteria(text: str) -> tuple[Criterion, ...]:
    made = []
    for part in (p for p in text.split(";") if p.strip()):
        name, mark, definition = part.partition(":")
        if not mark or not name.strip() or not definition.strip():
            raise ValueError(f'--criteria takes "name: definition; name: definition", got {part.strip()!r}')
        made.append(Criterion(name.strip(), definition.strip()))
    return tuple(made) or baselines.BROAD[:4]


def _evaluated(
    part: Callable[[], Split], evaluator: Evaluator, max_calls: int, announce: Callable[[], None]
) -> dict[str, Any]:
    announce()
    held = part()
    found = evaluate(held, evaluator, max_calls)
    adds = contributions(held.people, found.judged)  # so that two evaluators are compared text by text
    values = [Missing("no score could be read") if np.isnan(v) else float(v) for v in adds]
    return {
        "agreement": Items(values, ids=(e.id for e in held.unseen), groups=(e.group for e in held.unseen)),
        "labels": float(found.labels),
        "calls to fit": float(found.fitting),
        "calls a text": found.scoring / len(held.unseen),
        "tokens": float(found.tokens),
    }


def _ratings(path: Path) -> dict[str, Items]:
    import csv

    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        return {"rating": Items(float(r["rating"]) for r in rows)}
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise ValueError(f'{path} must be a CSV file with numbers under "rating": {error}') from error


TOLD = ("direct", "few-shot", "fixed criteria", "g-eval", "length")

RULES: list[Rule] = [
    OutOfReach(
        claim="C1",
        reason={
            "en": "agreement on real writing needs a real judge and texts that people rated; neither ships.",
            "ja": "実際の文章での一致を見るには、実際の評価モデルと人手評価つきの文章が必要で、同梱していない。",
        },
        option="--model openai/NAME --data rated.csv",
        then=Beats(
            claim="C1", method="active critic", baseline=TOLD, metric="agreement", better="higher", check="critics",
            control=("active critic, labels shuffled",),
        ),
    ),
    Beats(
        claim="C2", method="active critic", baseline=("coarse", "passive"), metric="agreement", better="higher",
        check="simulated", where={"labels": 5}, control=("active critic, labels shuffled",),
    ),
    AllOf(
        "C3",
        (
            Beats(
                claim="C3", method="inferring the criteria", baseline="choosing the prompt", metric="gain", better="higher",
                by=Difference(0.05), check="simulated", each=("labels",),
                control=("inferring the criteria, labels shuffled",),
            ),
            Beats(
                claim="C3", method="active critic", baseline="coarse", metric="agreement", better="higher",
                check="simulated", where={"labels": 40}, control=("active critic, labels shuffled",),
            ),
        ),
    ),
    OutOfReach(
        claim="C4",
        reason={
            "en": "whether explanations are useful is for people to say.",
            "ja": "説明が役に立つかどうかは、人が判断するほかない。",
        },
        option="--ratings ratings.csv",
        then=Reaches(claim="C4", method="explanations", target=3.0, metric="rating", better="higher", check="critics"),
    ),
]  # fmt: skip


@figure("active-critic", en="Agreement with people by number of labels", ja="ラベル数と人間との一致")
def by_labels(rows: Rows) -> Any:
    held = rows.where(check="simulated")
    levels = [int(level) for level in held.levels("labels")]
    if not levels:
        return None
    made, axes = _axes("labels", "Spearman's correlation on unseen texts")
    for method in (*world.METHODS, *(f"{m}, labels shuffled" for m in SHUFFLED)):
        mine = held.where(method=method)
        line = ":" if "shuffled" in method else "-"
        axes.plot(levels, [mine.where(labels=n).mean("agreement") for n in levels], line, marker="o", label=method)
    axes.set_xscale("log")
    axes.set_xticks(levels, [str(n) for n in levels], minor=False)
    axes.legend(frameon=False, fontsize=7)
    return made


@figure(
    "active-critic", en="What the score on the selection examples promises", ja="選択に使った例での一致度が約束するもの"
)
def optimism(rows: Rows) -> Any:
    held = rows.where(check="simulated", method="active critic")
    levels = [int(level) for level in held.levels("labels")]
    if not levels:
        return None
    made, axes = _axes("labels", "Spearman's correlation")
    for metric in ("selection score", "agreement"):
        axes.plot(levels, [held.where(labels=n).mean(metric) for n in levels], marker="o", label=metric)
    axes.set_xscale("log")
    axes.set_xticks(levels, [str(n) for n in levels], minor=False)
    axes.legend(frameon=False)
    return made


def _axes(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    made = Figure(figsize=(5, 3.2), layout="constrained")
    axes = made.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes


@apply("active-critic")
def fit(
    data: Path,
    output: Path,
    *,
    model: str = "specimen:marker-judge",
    score: str = "score",
    scale: tuple[float, ...] = (),
    mode: str = "fine",
    candidates: int = 8,
    demonstrations: int = 3,
    propose: int = 0,
    samples: int = 1,
    nested: int = 3,
    max_calls: int = 5000,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a critic to rated texts of yours and save it; `critic.as_scorer()` or `inspect eval ... -T critic=` uses it.

    Args:
        data: CSV or JSON file with source, output and score.
        output: the JSON file of the critic.
        model: the judge: a folder, or a name that Inspect AI knows.
        score: column of the score; several with commas between are averaged.
        scale: its ends, as "1,5", where the scores do not tell.
        mode: fine, single_call or coarse.
        candidates: prompts tried.
        demonstrations: in each.
        propose: rounds in which the instruction of the best prompt is rewritten and tried.
        samples: of each judgement, averaged; one alone is taken at temperature 0.
        nested: folds of the honest estimate; 0 leaves it out.
        max_calls: in all; when they are spent, the best critic so far is saved, with a warning.
    """
    examples, scores = read_rated(data, score=score)
    critic = ActiveCritic(
        Endpoint.open(model).in_world(seed).model,
        mode=_mode(mode),
        n_candidates=candidates,
        n_demos=demonstrations,
        propose=propose,
        samples=samples,
        nested=nested,
        max_calls=max_calls,
        scale=_ends(scale),
        random_state=seed,
    )
    with files.writing(output) as beside:  # refused before a call is made, if it cannot be
        critic.estimate(len(scores), groups=[e.group for e in examples]).announce()
        critic.fit(examples, scores)
        critic.save(beside)
    cv = critic.cv_agreement_
    best = max((t.agreement.spearman for t in critic.selection_history_), default=None)
    return {
        "task": critic.task_description_,
        "criteria": [f"{c.name}: {c.definition}" for c in critic.criteria_],
        "demonstrations": len(critic.prompt_.demonstrations),
        "agreement on unseen sources (Spearman)": None if cv is None else cv.spearman,
        "why not": critic.cv_unavailable_,
        "on the selection examples (too high)": best,
        "copies what it is shown": critic.anchor_,
        "calls": critic.n_calls_,
    }
