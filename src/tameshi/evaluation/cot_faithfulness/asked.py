"""A model asked all questions K times, each in a session of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tameshi.evaluation.accounting import Estimate
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.cot_faithfulness.questions import Question, prompt
from tameshi.evaluation.cot_faithfulness.rates import Answers, IPHRResult, may_stop
from tameshi.evaluation.messages import Answer, Unanswered, Unparsed
from tameshi.evaluation.readers import fold, read_yes_no
from tameshi.evaluation.secrets import redacted

Said = Literal["YES", "NO", "UNKNOWN"]
EARLY = 4  # answers to each question before a pair may be left alone


def read(text: str) -> Said:
    """YES, NO, or UNKNOWN for an answer that commits itself to neither."""
    value = read_yes_no(text)
    return "UNKNOWN" if isinstance(value, Unparsed) else "YES" if value == "YES" else "NO"


def read_with_start_veto(text: str) -> Said:
    """The first reader of the official code: an answer that begins with NO is never YES, whatever it concludes, and the other way
    round. For comparison; ours reads the conclusion."""
    value = read(text)
    begins = re.match(r"\W*(yes|no)\b", fold(text), re.IGNORECASE)
    if begins is None or value == "UNKNOWN":
        return value
    return value if begins[1].upper() == value else "UNKNOWN"


@dataclass(frozen=True)
class Session:
    """All answers to all questions.

    Args:
        questions: in their order.
        said: what each answer said, question by question; an answer that never came is not in it.
        reasons: why answers did not come, with how often.
        chains: the text of every answer, question by question, for whoever reads the reasoning next.
    """

    questions: tuple[Question, ...]
    said: tuple[tuple[Said, ...], ...]
    reasons: dict[str, int]
    chains: tuple[tuple[str, ...], ...]

    def answers(self) -> Answers:
        """The counts, of those pairs whose both questions got an answer."""
        pairs = {q.pair: True for q in self.questions}
        for question, said in zip(self.questions, self.said, strict=True):
            pairs[question.pair] &= bool(said)
        kept = [(q, said) for q, said in zip(self.questions, self.said, strict=True) if pairs[q.pair]]
        return Answers(
            pair=[q.pair for q, _ in kept],
            group=[q.group for q, _ in kept],
            truth=[q.truth for q, _ in kept],
            yes=[said.count("YES") for _, said in kept],
            unknown=[said.count("UNKNOWN") for _, said in kept],
            asked=[len(said) for _, said in kept],
        )

    def unfaithful(self, result: IPHRResult) -> list[UnfaithfulResponses]:
        """The wrong answers to the less accurate question of every flagged pair: chains that did not produce their answer."""
        flagged = {
            (name, bool(truth))
            for name, truth, hit in zip(result.pairs, result.doubtful, result.flagged, strict=True)
            if hit
        }
        found = []
        for question, said, chains in zip(self.questions, self.said, self.chains, strict=True):
            if (question.pair, question.truth) in flagged:
                wrong = "NO" if question.truth else "YES"
                texts = tuple(redacted(text) for word, text in zip(said, chains, strict=True) if word == wrong)
                found.append(UnfaithfulResponses(question.pair, redacted(question.text), texts))
        return found


@dataclass(frozen=True)
class UnfaithfulResponses:
    """Wrong answers to one question of a flagged pair.

    Args:
        pair: its name.
        question: as it was asked.
        texts: the answers with their chains; foreign text, without keys of this machine.
    """

    pair: str
    question: str
    texts: tuple[str, ...]


def estimate(n_pairs: int, k: int) -> Estimate:
    """The most calls that a session makes, retries aside."""
    return Estimate({"target": 2 * n_pairs * k})


async def ask_all(
    ask: Asker, questions: Sequence[Question], k: int, *, reasoning: bool = True, early: int | None = EARLY
) -> Session:
    """Ask every question k times.

    Args:
        ask: the model; its temperature must be above 0, or k answers are one.
        questions: in pairs.
        k: answers to each.
        reasoning: ask for a chain before the answer.
        early: answers after which a pair that was always right is left alone; None asks all k.
    """
    texts: list[list[Answer]] = [[] for _ in questions]
    reasons: dict[str, int] = {}

    async def more(places: Sequence[int], times: int) -> None:
        wanted = [place for place in places for _ in range(times)]
        answers = await ask.all(prompt(questions[place], reasoning=reasoning) for place in wanted)
        for place, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, Unanswered):
                reasons[answer.reason] = reasons.get(answer.reason, 0) + 1
            else:
                texts[place].append(answer)

    first = k if early is None else min(early, k)
    await more(range(len(questions)), first)
    if first < k:
        said = [[read(answer.text) for answer in row] for row in texts]
        await more(_open(questions, said, first, k), k - first)
    return Session(
        tuple(questions),
        tuple(tuple(read(answer.text) for answer in row) for row in texts),
        reasons,
        tuple(tuple(_whole(answer) for answer in row) for row in texts),
    )


def _open(questions: Sequence[Question], said: Sequence[Sequence[Said]], asked: int, k: int) -> list[int]:
    """Places of the questions whose pair has to be asked on."""
    places: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        places.setdefault(question.pair, []).append(place)
    found: list[int] = []
    for pair in places.values():
        counted = [said[place] for place in pair]
        done = (
            len(pair) == 2
            and all(len(row) == asked for row in counted)
            and may_stop(
                (counted[0].count("YES"), counted[1].count("YES")),
                (counted[0].count("UNKNOWN"), counted[1].count("UNKNOWN")),
                (questions[pair[0]].truth, questions[pair[1]].truth),
                asked,
                total=k,
            )
        )
        if not done:
            found += pair
    return found


def _whole(answer: Answer) -> str:
    return f"{answer.reasoning}\n{answer.text}" if answer.reasoning else answer.text
