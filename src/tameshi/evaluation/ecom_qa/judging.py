"""Grades of free answers by a model: correct, incorrect, not attempted (as in the SimpleQA family; our choice).

The judge of the paper was not found. Question, reference and answer are fenced as data; only the three labels count.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tameshi.evaluation.asking import Asker
from tameshi.evaluation.ecom_qa.items import Item
from tameshi.evaluation.ecom_qa.scoring import GRADES, Scored, score_item
from tameshi.evaluation.judge import LabelJudge
from tameshi.evaluation.messages import Unanswered, Unparsed

RUBRIC = (
    "You grade an answer to a question about Chinese e-commerce against reference answers. Word order, script and length do "
    "not matter; what is said does. A reference answer is not open to doubt."
)
REFLECTION = {
    "A": "the right answer is found at once and confirmed again and again",
    "B": "a wrong answer is noticed and put right by reflecting",
    "C": "a right answer is given up for a wrong one by reflecting",
    "D": "the reasoning goes round in doubt and settles nothing",
}


class Grader:
    """`await Grader(ask)(item, answer)` gives CORRECT, INCORRECT or NOT_ATTEMPTED, or why there is no grade."""

    def __init__(self, ask: Asker) -> None:
        self._judge = LabelJudge(ask, RUBRIC, GRADES, cautious="INCORRECT")

    async def __call__(self, item: Item, answer: str) -> str | Unparsed:
        found = await self._judge(answer, question=item.prompt, reference="\n".join(item.golds))
        if isinstance(found, Unanswered | Unparsed):
            return Unparsed(found.reason)
        return str(found.value)


async def score_with(grader: Grader, item: Item, answer: str, *, judge_all: bool = False) -> Scored:
    """Score one answer, asking the grader where the item wants one."""
    if not answer.strip() or not (judge_all or item.kind == "free"):
        return score_item(item, answer)
    grade = await grader(item, answer)
    return score_item(item, answer, lambda item, answer: grade, judge_all=judge_all)


class ReflectionJudge:
    """Which kind of reflection a chain of reasoning shows: A, B, C or D of the paper's study."""

    def __init__(self, ask: Asker) -> None:
        rubric = (
            "You read the reasoning before an answer and say what its reflection did. The reference answer is right."
        )
        self._judge = LabelJudge(ask, rubric, REFLECTION, cautious="D")

    async def __call__(self, item: Item, reasoning: str) -> str | Unparsed:
        found = await self._judge(reasoning, question=item.prompt, reference="\n".join(item.golds))
        return Unparsed(found.reason) if isinstance(found, Unanswered | Unparsed) else str(found.value)


@dataclass(frozen=True)
class Reflections:
    """How often each kind of reflection was seen, as shares of the chains that could be read."""

    shares: dict[str, float]
    n: int
    unread: int


def reflections(kinds: Sequence[str | Unparsed]) -> Reflections:
    """Gather the kinds of many chains."""
    read = [k for k in kinds if not isinstance(k, Unparsed)]
    shares = {k: sum(r == k for r in read) / len(read) if read else 0.0 for k in REFLECTION}
    return Reflections(shares, len(read), len(kinds) - len(read))


@dataclass(frozen=True)
class Agreement:
    """What the rules and a judge made of the same answers, on questions with labels or letters.

    Args:
        items: ids of the questions.
        rules, judge: whether each answer was right, by either.
        ungraded: answers for which no grade came.
        calls, calls_without: of the judge on the whole file, with the rules first and without.
    """

    items: tuple[str, ...]
    rules: tuple[bool, ...]
    judge: tuple[bool, ...]
    ungraded: int
    calls: int
    calls_without: int

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa; None where it is not defined."""
        return kappa(self.rules, self.judge) if self.items else None

    @property
    def saved(self) -> float:
        """Share of the judge's calls that the rules save."""
        return 1 - self.calls / self.calls_without

    def __str__(self) -> str:
        agreed = sum(a == b for a, b in zip(self.rules, self.judge, strict=True))
        beyond = "not defined, for one of them always says the same" if self.kappa is None else f"{self.kappa:.3f}"
        return (
            f"rules and judge agree on {agreed} of {len(self.items)} answers with labels: kappa {beyond} (the goal is "
            f"0.9); {self.ungraded} got no grade\nrules first: {self.calls:,} calls of the judge in place of "
            f"{self.calls_without:,}, {self.saved:.0%} saved"
        )


SAMPLE = 100


async def rules_beside_judge(
    grader: Grader, items: Sequence[Item], answers: Sequence[str | None], *, sample: int = SAMPLE, seed: int = 0
) -> Agreement:
    """Have the judge grade a sample of the answers that the rules score without it.

    Args:
        grader: the judge.
        items, answers: the questions and what was said, None where no answer came.
        sample: how many answers at most, drawn by `seed`.
    """
    readable = [
        (item, answer)
        for item, answer in zip(items, answers, strict=True)
        if item.kind in ("label", "letter") and answer is not None and answer.strip()
    ]
    drawn = [readable[i] for i in sorted(np.random.default_rng([seed, 23]).permutation(len(readable))[:sample])]
    grades = await asyncio.gather(*(grader(item, answer) for item, answer in drawn))
    held = [
        (i, score_item(i, a).correct, g == "CORRECT")
        for (i, a), g in zip(drawn, grades, strict=True)
        if isinstance(g, str)
    ]
    ids, rules, judge = zip(*((i.id, r, g) for i, r, g in held), strict=True) if held else ((), (), ())
    return Agreement(ids, rules, judge, len(drawn) - len(held), *judge_calls(items))


def judge_calls(items: Sequence[Item]) -> tuple[int, int]:
    """(calls to the judge with the rules first, calls without): what the rules save."""
    return sum(i.kind == "free" for i in items), len(items)


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Cohen's agreement of two scorers beyond chance; None where both always say the same one thing."""
    if len(first) != len(second) or not first:
        raise ValueError(f"two scorers need the same answers, got {len(first)} and {len(second)}")
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / n
    p, q = sum(first) / n, sum(second) / n
    chance = p * q + (1 - p) * (1 - q)
    return None if chance == 1 else (seen - chance) / (1 - chance)


def too_long(items: Sequence[Item], tokens: int) -> list[str]:
    """Items that may not fit into a context of so many tokens, by one token for each Chinese character and each word.

    A model with a short context cuts a long question in silence; it is better to know before.
    """
    pattern = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")
    return [i.id for i in items if len(pattern.findall(i.system + i.prompt)) > tokens]
