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
STAGES = (1, 2, 3, 4)  # parts of the way to a solution; some puzzles have fewer
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
            yield measure(name, partial(_steps, drawn, answers), puzzle=puzzle, question="sc and st")
            for stage in STAGES:
                yield measure(name, partial(_at_stage, drawn, answers, stage), puzzle=puzzle, stage=stage)
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
        recall = {f"{s.lower()}_recall": _recall(items, texts, s) for s in ("Solvable", "Unsolvable")}
        return {"sc_correct": each(fr.score_sc)} | recall
    if question == "st":
        return {"st_correct": each(fr.score_st), "st_strict": each(partial(fr.score_st, strict=True))}
    return {"e2e_correct": each(lambda text, item: fr.score_e2e(text, item.puzzle))}


def _recall(items: Sequence[fr.Item], texts: Sequence[str | Missing], status: str) -> Items:
    pairs = [(i, t) for i, t in zip(items, texts, strict=True) if i.status == status]
    return as_items([_checked(t, i) for i, t in pairs], [item for item, _ in pairs])


def _checked(text: str | Missing, item: fr.Item) -> float | Missing:
    return text if isinstance(text, Missing) else worth(fr.score_sc(text, item))


def _moved(text: str | Missing, item: fr.Item) -> float | Missing:
    return text if isinstance(text, Missing) else worth(fr.score_st(text, item))


def _steps(drawn: Drawn, answers: Mapping[Question, Answers]) -> dict[str, Items]:
    """The paper's summary of a puzzle: the mean of state checking and state transition, item by item."""
    items, values = drawn(), list[float | Missing]()
    for item, label, move in zip(items, answers["sc"](), answers["st"](), strict=True):
        checked, moved = _checked(label, item), _moved(move, item)
        if isinstance(checked, Missing) or isinstance(moved, Missing):
            values.append(checked if isinstance(checked, Missing) else moved)
        else:
            values.append((checked + moved) / 2)
    return {"step_mean": as_items(values, items)}


def _at_stage(drawn: Drawn, answers: Mapping[Question, Answers], stage: int) -> dict[str, Items] | dict[str, Missing]:
    """Both questions on the items at one part of the way."""
    rows = [row for row in zip(drawn(), answers["sc"](), answers["st"](), strict=True) if row[0].stage == stage]
    if not rows:
        return dict.fromkeys(("sc_at_stage", "st_at_stage"), Missing("no item at this part of the way"))
    items = [item for item, _, _ in rows]
    return {
        "sc_at_stage": as_items([_checked(label, item) for item, label, _ in rows], items),
        "st_at_stage": as_items([_moved(move, item) for item, _, move in rows], items),
    }


def _directions(drawn: Drawn, answers: Answers, puzzle: str) -> Iterator[Measurement]:
    for name, status in (("forward", "Solvable"), ("backtracking", "Unsolvable")):
        yield measure(name, partial(_by_puzzle, drawn, answers, status), puzzle=puzzle)


def _by_puzzle(drawn: Drawn, answers: Answers, status: str) -> dict[str, Items]:
    """Share of right moves among the states of one label, for every puzzle that has states of both."""
    right: dict[str, dict[str, list[float]]] = {}
    for item, text in zip(drawn(), answers(), strict=True):
        value = _moved(text, item)
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
