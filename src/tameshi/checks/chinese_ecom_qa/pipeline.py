"""Questions of which a known share is flawed, through the stages that are to remove them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import numpy as np

from tameshi.evaluation.ecom_qa import retrieval
from tameshi.evaluation.ecom_qa.construction import Benchmark, Candidate, Pipeline
from tameshi.evaluation.ecom_qa.items import Item
from tameshi.evaluation.ecom_qa.shop import make_shop, read_passages
from tameshi.nouns import Items, Measurement, check, measure

Stages = tuple[bool, bool, bool]
CLEAN = "votes, retrieval and people"
STAGES: dict[str, Stages] = {
    "no check": (False, False, False),
    "model votes": (True, False, False),
    "votes and retrieval": (True, True, False),
    CLEAN: (True, True, True),
}


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
    if wrong := [s for s in (flawed, accuracy, people) if not 0 <= s <= 1]:
        raise ValueError(f"--flawed, --accuracy and --people are shares between 0 and 1, got {wrong[0]}")
    if not 10 <= questions <= 2_000:
        raise ValueError(f"--questions must be 10 to 2,000, got {questions}")
    made = cache(partial(_generated, questions, flawed, seed))
    for name, stages in STAGES.items():
        yield measure(name, partial(_cleaned, made, stages, accuracy, people, seed))
    yield measure("random removal", partial(_removed_at_random, made, accuracy, people, seed))


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
