"""Models of yours on the items: state checking, state transition, end to end, and the errors that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Literal

from tameshi.checks.finereason.drawn import Drawn, as_items, one_each, worth
from tameshi.evaluation import finereason as fr
from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import wait
from tameshi.evaluation.finereason.scoring import Judged, Outcome
from tameshi.evaluation.messages import Answer, user
from tameshi.nouns import Items, Measurement, Missing, measure
from tameshi.specimens.endpoint import Endpoint

Question = Literal["sc", "st", "e2e"]
QUESTIONS: tuple[Question, ...] = ("sc", "st", "e2e")
Answers = Callable[[], Sequence["str | Missing"]]


def asked(
    models: Mapping[str, Endpoint], sets: Mapping[str, Drawn], count: int, max_calls: int
) -> Iterator[Measurement]:
    estimate = Estimate({name: 3 * count * len(sets) for name in models}).check(max_calls)
    announce = cache(estimate.announce)
    for name, endpoint in models.items():
        ledger = Ledger(max_calls // len(models))  # retries stay within the share of each model
        for puzzle, drawn in sets.items():
            answers = {q: cache(partial(_ask, endpoint, ledger, announce, drawn, q)) for q in QUESTIONS}
            for question, ask in answers.items():
                yield measure(name, partial(_scored, drawn, ask, question), puzzle=puzzle, question=question)
            if name == "model":
                yield from _directions(drawn, answers["st"], puzzle)
                yield from _errors(drawn, answers["st"], puzzle)


def _about(drawn: Drawn, question: Question) -> Sequence[fr.Item]:
    """The items of a question; end to end, every puzzle once."""
    return one_each(drawn()) if question == "e2e" else drawn()


def _ask(
    endpoint: Endpoint, ledger: Ledger, announce: Callable[[], None], drawn: Drawn, question: Question
) -> list[str | Missing]:
    announce()
    prompts: dict[Question, Callable[[fr.Item], str]] = {
        "sc": fr.checking_prompt,
        "st": fr.transition_prompt,
        "e2e": lambda item: fr.solution_prompt(item.puzzle),
    }
    items = _about(drawn, question)
    answers = wait(endpoint.asker(ledger=ledger).all([user(prompts[question](item))] for item in items))
    return [a.text if isinstance(a, Answer) else Missing(a.reason) for a in answers]


def _scored(drawn: Drawn, answers: Answers, question: Question) -> dict[str, Items]:
    items = _about(drawn, question)
    texts = answers()

    def each(judge: Callable[[str, fr.Item], Judged]) -> Items:
        pairs = zip(texts, items, strict=True)
        return as_items([t if isinstance(t, Missing) else worth(judge(t, i)) for t, i in pairs], items)

    if question == "sc":
        return {"sc_correct": each(fr.score_sc), "unsolvable_recall": _recall(items, texts)}
    if question == "st":
        return {"st_correct": each(fr.score_st), "st_strict": each(partial(fr.score_st, strict=True))}
    return {"e2e_correct": each(lambda text, item: fr.score_e2e(text, item.puzzle))}


def _recall(items: Sequence[fr.Item], texts: Sequence[str | Missing]) -> Items:
    pairs = [(i, t) for i, t in zip(items, texts, strict=True) if i.status == "Unsolvable"]
    values = [t if isinstance(t, Missing) else worth(fr.score_sc(t, i)) for i, t in pairs]
    return as_items(values, [item for item, _ in pairs])


def _directions(drawn: Drawn, answers: Answers, puzzle: str) -> Iterator[Measurement]:
    for name, status in (("forward", "Solvable"), ("backtracking", "Unsolvable")):
        yield measure(name, partial(_by_puzzle, drawn, answers, status), puzzle=puzzle)


def _by_puzzle(drawn: Drawn, answers: Answers, status: str) -> dict[str, Items]:
    """Share of right moves among the states of one label, for every puzzle that has states of both."""
    right: dict[str, dict[str, list[float]]] = {}
    for item, text in zip(drawn(), answers(), strict=True):
        value = text if isinstance(text, Missing) else worth(fr.score_st(text, item))
        if not isinstance(value, Missing):
            right.setdefault(item.group, {}).setdefault(item.status, []).append(value)
    both = {group: found[status] for group, found in right.items() if len(found) == 2}
    return {"direction": Items([sum(v) / len(v) for v in both.values()], both)}


def _errors(drawn: Drawn, answers: Answers, puzzle: str) -> Iterator[Measurement]:
    for error in ("backtracking failure", "sibling", "invalid move", "multiple moves", "unsolvable child"):
        yield measure(f"error: {error}", partial(_error_rate, drawn, answers, error), puzzle=puzzle)


def _error_rate(drawn: Drawn, answers: Answers, error: str) -> dict[str, Items]:
    items = drawn()
    judged = [t if isinstance(t, Missing) else fr.score_st(t, i) for i, t in zip(items, answers(), strict=True)]
    values: list[float | Missing] = [
        float(j.error == error) if isinstance(j, Outcome) else Missing(j.reason) for j in judged
    ]
    return {"error_made": as_items(values, items)}
