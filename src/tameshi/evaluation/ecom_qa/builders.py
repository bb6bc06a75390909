"""Stages of the construction pipeline that ask a model: writing questions, validating them, answering from passages."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tameshi.evaluation.asking import Asker
from tameshi.evaluation.ecom_qa.construction import Candidate
from tameshi.evaluation.judge import DATA, LabelJudge, Verdict, fence
from tameshi.evaluation.messages import Answer, Unparsed, system, user
from tameshi.evaluation.readers import read_json

WRITE = (
    "You write questions for a benchmark of e-commerce knowledge, in the language of the snippet. Write up to {count} "
    "questions whose short answers stand in the snippet; the answer must be faithful to it. A question must make sense "
    'without the snippet. {data} Answer with JSON alone: [{{"question": "...", "answer": "...", "distractors": ["..."]}}]'
)
CHECK = (
    "You check a question for a benchmark: it must be clear, have a single objective answer, be answerable from general "
    "knowledge of the trade, and stay true over time."
)
VOTES = {
    "KEEP": "the question meets all of this and the answer given is right",
    "DROP": "it does not, or the answer is wrong",
}
READ = (
    "Answer the question from the passages alone, as shortly as possible and in the language of the question. If they do not "
    "say, answer with the one word UNKNOWN. {data}"
)


def writer(ask: Asker, *, count: int = 2) -> Callable[[str], Awaitable[list[Candidate]]]:
    """Writes questions out of a snippet; an answer that cannot be read gives none."""

    async def write(snippet: str) -> list[Candidate]:
        told = await ask([system(WRITE.format(count=count, data=DATA)), user(fence(snippet, "snippet"))])
        found = read_json(told.text, _is_list) if isinstance(told, Answer) else Unparsed("no answer")
        if isinstance(found, Unparsed):
            return []
        mark = hashlib.sha256(snippet.encode("utf-8", "replace")).hexdigest()[:10]
        return [
            Candidate(
                f"{mark}-{index}", snippet, str(entry["question"]), str(entry["answer"]),
                tuple(str(d) for d in entry.get("distractors") or ()),
            )
            for index, entry in enumerate(found[:count])
        ]  # fmt: skip

    return write


def voter(ask: Asker) -> Callable[[Candidate], Awaitable[bool]]:
    """Votes on a question; without a readable vote it is dropped."""
    judge = LabelJudge(ask, CHECK, VOTES, cautious="DROP")

    async def vote(candidate: Candidate) -> bool:
        found = await judge(f"{candidate.question}\n{candidate.answer}", snippet=candidate.snippet)
        return isinstance(found, Verdict) and found.value == "KEEP"

    return vote


def reader(ask: Asker) -> Callable[[Candidate, Sequence[str]], Awaitable[str]]:
    """Answers from passages; empty where they do not say, or no answer came."""

    async def read(candidate: Candidate, passages: Sequence[str]) -> str:
        fenced = [fence(p, "passage") for p in passages]
        told = await ask([system(READ.format(data=DATA)), user("\n\n".join([*fenced, candidate.question]))])
        text = told.text.strip() if isinstance(told, Answer) else ""
        return "" if "UNKNOWN" in text.upper() else text

    return read


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(v, dict) and isinstance(v.get("question"), str) and isinstance(v.get("answer"), str) for v in value
    )
