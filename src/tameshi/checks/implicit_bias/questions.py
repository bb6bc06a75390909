"""Models that answer: implicit association beside the direct question, and whether a planted rate comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from tameshi.checks.implicit_bias import measures
from tameshi.checks.implicit_bias.measures import MIXED, PLANTED
from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.implicit_bias import assignment, contrasts, decision, explicit
from tameshi.evaluation.implicit_bias.assignment import Answer, Prompt
from tameshi.evaluation.implicit_bias.contrasts import Contrast
from tameshi.evaluation.messages import Answer as Said
from tameshi.evaluation.messages import user
from tameshi.nouns import Items, Measurement, Missing, check, measure
from tameshi.specimens import planted_bias
from tameshi.specimens.endpoint import Endpoint


@check("implicit-bias", seeds=4)
def denial(
    model: Endpoint | None = None,
    *,
    contrast: Path | None = None,
    mitigated: Endpoint | None = None,
    answers: int = 40,
    max_calls: int = 1000,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Implicit association beside the direct question, on one subject.

    Args:
        model: an endpoint or folder of your own; left out, a planted model that was trained to answer "equal".
        contrast: YAML file of your contrast; left out, the neutral sea-sky.
        mitigated: the same model after your mitigation.
        answers: to each of the two kinds of question.
        max_calls: of each model, in all; the run does not start if it could take more.
        limit: at most so many answers to each kind.
    """
    if model is None:
        held = cache(partial(planted_bias.planted, 0.8, seed=seed))
        for name, groups in {"implicit": PLANTED, "implicit, names mixed": MIXED}.items():
            yield measure(name, partial(_as_metric, "d", measures.forced_choice, held, groups, seed))
        yield measure("explicit", partial(_as_metric, "agreement", measures.explicit, held, PLANTED, seed))
        return
    chosen = contrasts.shipped()["sea-sky"] if contrast is None else Contrast.from_yaml(contrast)
    count = answers if limit is None else min(answers, limit)
    estimate = Estimate({"implicit": 2 * count, "explicit": count}).check(max_calls)
    announce = cache(estimate.announce)
    for endpoint, label in ((model, ""), (mitigated, "mitigated ")):
        if endpoint is None:
            continue
        ask = partial(_asker, endpoint, seed, max_calls, announce)
        for name, groups in {"implicit": chosen, "implicit, names mixed": _mixed(chosen)}.items():
            yield measure(f"{label}{name}", partial(_asked_iat, ask, groups, count, seed))
        yield measure(f"{label}explicit", partial(_asked_explicit, ask, chosen, count))


@check("implicit-bias")
def scripted(
    *, rates: tuple[float, ...] = (0.5, 0.75, 1.0), answers: int = 40, refused: float = 0.2, seed: int = 0
) -> Iterator[Measurement]:
    """Whether the tests by question recover a planted rate, through Inspect AI, when a fifth of the answers is refused.

    Args:
        rates: share of words that go where the contrast has them; D should be 2 rate - 1.
        answers: of each kind.
        refused: share of answers that decline.
    """
    if wrong := [s for s in (*rates, refused) if not 0 <= s <= 1]:
        raise ValueError(f"--rates and --refused are shares between 0 and 1, got {wrong[0]}")
    groups = contrasts.shipped()["invented"]
    for rate in rates:
        ask = partial(_scripted_asker, rate, refused, seed)
        yield measure("assignment", partial(_asked_iat, ask, groups, answers, seed), rate=rate, expected=2 * rate - 1)
        yield measure("decision", partial(_asked_decision, ask, groups, answers, seed), rate=rate, expected=rate)


def _as_metric(metric: str, work: Callable[..., dict[str, Items]], *arguments: Any) -> dict[str, Items]:
    return {metric: work(*arguments)["value"]}


def _mixed(c: Contrast) -> Contrast:
    half_x, half_y = len(c.x) // 2, len(c.y) // 2
    if not half_x or not half_y:
        raise ValueError(f"contrast {c.name!r} needs two names a group, so that the groups can be mixed as a control")
    return Contrast(f"{c.name}, mixed", c.x[:half_x] + c.y[:half_y], c.x[half_x:] + c.y[half_y:], c.a, c.b)


def _asker(endpoint: Endpoint, seed: int, max_calls: int, announce: Callable[[], None]) -> Asker:
    announce()
    return endpoint.in_world(seed).asker(ledger=Ledger(max_calls), temperature=0.7)


def _scripted_asker(rate: float, refused: float, seed: int) -> Asker:
    from tameshi.evaluation.implicit_bias.scripted import leaning
    from tameshi.evaluation.provider import rule_model

    return Asker(rule_model(leaning(rate, refused=refused), seed=seed))


def _replies(ask: Callable[[], Asker], questions: Sequence[str]) -> list[str | None]:
    said = wait(ask().all([[user(q)] for q in questions]))
    return [s.text if isinstance(s, Said) else None for s in said]


def _asked_iat(ask: Callable[[], Asker], groups: Contrast, answers: int, seed: int) -> dict[str, Items]:
    prompts: list[Prompt] = assignment.iat_prompts(groups, n=answers, variants=1, seed=seed)
    read: list[Answer | None] = [
        None
        if text is None
        else assignment.read_assignments(text, groups, name_x=p.name_x, name_y=p.name_y, x_first=p.x_first)
        for p, text in zip(prompts, _replies(ask, [p.text for p in prompts]), strict=True)
    ]
    return {
        "d": Items(_d(a) for a in read),
        "official d": Items(
            Missing("no answer") if a is None else assignment.iat_score_official(a.xa, a.xb, a.ya, a.yb) for a in read
        ),
        "refused": Items(Missing("no answer") if a is None else a.refused for a in read),
    }


def _d(answer: Answer | None) -> float | Missing:
    if answer is None:
        return Missing("no answer")
    if answer.readable and answer.d is not None:
        return answer.d
    return Missing("refused" if answer.refused else "could not be read")


def _asked_decision(ask: Callable[[], Asker], groups: Contrast, answers: int, seed: int) -> dict[str, Items]:
    prompts = decision.decision_prompts(groups, n=answers, seed=seed)
    choices = [
        None if text is None else decision.read_choice(text, p)
        for p, text in zip(prompts, _replies(ask, [p.text for p in prompts]), strict=True)
    ]
    values = [
        Missing("no answer") if c is None
        else Missing("refused" if c.refused else "could not be read") if c.consistent is None
        else float(c.consistent)
        for c in choices
    ]  # fmt: skip
    return {"share": Items(values)}


def _asked_explicit(ask: Callable[[], Asker], groups: Contrast, answers: int) -> dict[str, Items]:
    each = -(-answers // max(1, len(groups.statements)))
    questions = explicit.explicit_prompts(groups, n=each)[:answers]
    values: list[float | Missing] = []
    for text in _replies(ask, [q.text for q in questions]):
        read = "no answer" if text is None else explicit.read_agreement(text)
        values.append(Missing(read) if isinstance(read, str) else (read - 3) / 2)
    return {"agreement": Items(values)}
