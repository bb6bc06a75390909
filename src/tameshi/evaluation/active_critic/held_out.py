"""Every evaluator on the same held-out texts: what learns learns from the same labels, and each has its own budget.

Whole sources are held out, so that no evaluator has seen the source of a text that it is compared on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.active_critic import baselines
from tameshi.evaluation.active_critic.agreement import Floats
from tameshi.evaluation.active_critic.critic import ActiveCritic
from tameshi.evaluation.active_critic.inference import MOST
from tameshi.evaluation.active_critic.prompts import Criterion, Example, Mode, Scale
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.messages import Ask

if TYPE_CHECKING:
    from inspect_ai.model import Model

SAMPLES = 20  # of G-Eval


@dataclass(frozen=True)
class Split:
    """Rated texts in two parts without a source in common.

    Args:
        examples, scores: what may be learnt from.
        unseen, people: what is compared on, with the scores of people.
        scale: of all scores; which scores there are is no secret.
    """

    examples: list[Example]
    scores: list[float]
    unseen: list[Example]
    people: list[float]
    scale: Scale


def split(examples: Sequence[Example], scores: Sequence[float], *, train: float, scale: Scale, seed: int = 0) -> Split:
    """Hold out whole sources.

    Args:
        examples, scores: with the scores of people.
        train: share of the sources that may be learnt from, in (0, 1).
        scale: of the scores.
        seed: of the draw.

    Raises:
        ValueError: no such share, or fewer than four sources.
    """
    groups = sorted({e.group for e in examples})
    if not 0 < train < 1 or len(groups) < 4:
        raise ValueError(f"--train is a share of at least four sources, got {train} of {len(groups)}")
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = {groups[i] for i in order[: max(2, round(train * len(groups)))]}
    inside = [i for i, e in enumerate(examples) if e.group in chosen]
    outside = [i for i, e in enumerate(examples) if e.group not in chosen]
    return Split(
        [examples[i] for i in inside],
        [scores[i] for i in inside],
        [examples[i] for i in outside],
        [scores[i] for i in outside],
        scale,
    )


class Predicts(Protocol):
    """What scores texts, and says whether it saw labels."""

    @property
    def uses_labels(self) -> bool: ...

    def predict(self, examples: Sequence[Example], /) -> Floats: ...


@dataclass(frozen=True)
class Evaluator:
    """One way to score texts.

    Args:
        build: makes it from what may be learnt, with a ledger for its calls.
        calls: the most calls that making it and scoring the unseen texts takes, repairs and retries aside.
    """

    build: Callable[[Split, Ledger], Predicts]
    calls: Callable[[Split], int]


@dataclass(frozen=True)
class Evaluated:
    """How one evaluator did.

    Args:
        judged: (n,) scores of the unseen texts, NaN where one could not be read.
        labels: scores of people that it saw.
        fitting, scoring: calls.
        tokens: in all.
    """

    judged: Floats
    labels: int
    fitting: int
    scoring: int
    tokens: int


def evaluators(
    judge: Callable[[], Model | Ask | str],
    rubric: tuple[Criterion, ...],
    *,
    mode: Mode = "fine",
    propose: int = 0,
    samples: int = 1,
    seed: int = 0,
) -> dict[str, Evaluator]:
    """The active critic, two of its parts left out, its control, and the baselines that need no more than a judge.

    Args:
        judge: gives the model; asked for when the first evaluator is made.
        rubric: for the fixed judge; its first criterion for G-Eval.
        mode, propose, samples: of the critic.
        seed: of its choices.

    Raises:
        ValueError: fewer than no rounds, or than one sample.
    """
    if propose < 0 or samples < 1:
        raise ValueError(f"propose must be at least 0 and samples at least 1, got {propose} and {samples}")

    def critic(part: Split, ledger: Ledger, **settings: Any) -> ActiveCritic:
        return made(ledger, **settings).fit(part.examples, part.scores)

    def made(ledger: Ledger, scale: Scale | None = None, **settings: Any) -> ActiveCritic:
        ends = None if scale is None else (scale.low, scale.high)
        chosen = {"mode": mode, "propose": propose, "samples": samples, **settings}
        return ActiveCritic(judge(), nested=0, ledger=ledger, scale=ends, random_state=seed, **chosen)

    def shuffled(part: Split, ledger: Ledger) -> ActiveCritic:
        dealt = [float(v) for v in np.random.default_rng(seed).permutation(part.scores)]
        return critic(replace(part, scores=dealt), ledger, scale=part.scale)

    def active(**settings: Any) -> Evaluator:
        def calls(part: Split) -> int:
            estimate = made(Ledger(), **settings).estimate(len(part.scores), groups=[e.group for e in part.examples])
            each = MOST + 1 if settings.get("mode", mode) == "fine" else 1
            return estimate.total + each * samples * len(part.unseen)

        return Evaluator(lambda part, ledger: critic(part, ledger, scale=part.scale, **settings), calls)

    def ask(ledger: Ledger, **settings: Any) -> Asker:
        return Asker(judge(), **{"ledger": ledger, "temperature": 0.0, **settings})

    def told(build: Callable[[Asker, Split], Predicts], each: int, **settings: Any) -> Evaluator:
        return Evaluator(
            lambda part, ledger: build(ask(ledger, **settings), part), lambda part: each * len(part.unseen)
        )

    full = active()
    return {
        "active critic": full,
        "active critic, one score": active(mode="coarse"),
        "active critic, no demonstrations": active(n_candidates=1),
        "direct": told(lambda a, part: baselines.direct(a, scale=part.scale), 1),
        "few-shot": told(lambda a, part: baselines.few_shot(a, part.examples, part.scores, scale=part.scale), 1),
        "fixed criteria": told(lambda a, part: baselines.fixed_criteria(a, rubric, scale=part.scale), len(rubric) + 1),
        "g-eval": told(
            lambda a, part: baselines.GEval(a, "", rubric[0], scale=part.scale, n=SAMPLES),
            SAMPLES,
            temperature=2.0,
            max_tokens=5,
            top_p=1.0,
        ),
        "calibrated linear": Evaluator(
            lambda part, ledger: baselines.CalibratedLinear(ask(ledger), scale=part.scale).fit(
                part.examples, part.scores
            ),
            lambda part: len(part.scores) + len(part.unseen),
        ),
        "length": Evaluator(lambda part, ledger: baselines.Length(), lambda part: 0),
        "active critic, labels shuffled": Evaluator(shuffled, full.calls),
    }


def estimate(part: Split, held: Mapping[str, Evaluator], max_calls: int) -> Estimate:
    """The most calls that all of them make, none more than its budget."""
    calls = {name: min(evaluator.calls(part), max_calls) for name, evaluator in held.items()}
    return Estimate({name: count for name, count in calls.items() if count})


def evaluate(part: Split, evaluator: Evaluator, max_calls: int) -> Evaluated:
    """Make one, and score the unseen texts with it."""
    ledger = Ledger(max_calls)
    made = evaluator.build(part, ledger)
    fitting = ledger.calls.total()
    judged = made.predict(part.unseen)
    labels = len(part.scores) if made.uses_labels else 0
    return Evaluated(judged, labels, fitting, ledger.calls.total() - fitting, ledger.tokens.total())
