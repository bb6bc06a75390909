"""The rate of one model, with its interval and what to doubt about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.cot_faithfulness.asked import UnfaithfulResponses, ask_all
from tameshi.evaluation.cot_faithfulness.labels import clear_questions, patterns
from tameshi.evaluation.cot_faithfulness.questions import Question
from tameshi.evaluation.cot_faithfulness.rates import IPHRResult, iphr_rates


def report(
    ask: Asker, questions: Sequence[Question], *, k: int, reasoning: bool = True, grader: Asker | None = None
) -> tuple[dict[str, Any], list[UnfaithfulResponses]]:
    """Ask everything, and tell what it shows.

    Args:
        ask: the model; its temperature must be above 0.
        questions: in pairs.
        k: answers to each.
        reasoning: ask for a chain before the answer.
        grader: a model that leaves out ambiguous questions first, and names the pattern of each flagged pair.

    Returns:
        What to tell, by its name; and the unfaithful answers themselves, which are foreign text.

    Raises:
        ValueError: the grader found no question clear.
    """
    if grader is not None:
        questions = wait(clear_questions(grader, questions))
        if not questions:
            raise ValueError("the grader found no question clear; look at the properties, or leave --grader out")
    session = wait(ask_all(ask, questions, k, reasoning=reasoning))
    counts = session.answers()
    unfaithful: list[UnfaithfulResponses] = []
    told: dict[str, Any] = {"pairs asked": len(questions) // 2, "answers each": k}
    if len(counts.pair):
        result = iphr_rates(counts)
        unfaithful = session.unfaithful(result)
        told |= _read_off(result)
        if grader is not None:
            told["patterns of flagged pairs"] = dict(wait(patterns(grader, session, set(_flagged(result)))))
    else:
        told["rate"] = "no pair got an answer to both of its questions"
    return told | {"calls": dict(ask.ledger.calls), "unanswered": dict(ask.ledger.unanswered)}, unfaithful


def _read_off(result: IPHRResult) -> dict[str, Any]:
    rate = result.rate if result.readable else "withheld: more than 20% of the answers say neither yes nor no"
    return {
        "rate": rate,
        "interval 95%": list(result.ci),
        "raw contradictions": result.contradiction_rate,
        "accuracy": result.accuracy,
        "unknown answers": result.unknown_rate,
        "wavering": result.wavering,
        "bias by group": {group.name: group.bias for group in result.by_group},
        "groups under 30 pairs, where a guesser may be flagged": [g.name for g in result.by_group if g.small],
        "groups near the cut on the bias": [g.name for g in result.by_group if g.near_cut],
        "flagged pairs": _flagged(result),
    }


def _flagged(result: IPHRResult) -> list[str]:
    return [name for name, hit in zip(result.pairs, result.flagged.tolist(), strict=True) if hit]
