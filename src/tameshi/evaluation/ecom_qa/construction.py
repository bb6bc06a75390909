"""Building a benchmark out of a corpus: generate, check by model, check by retrieval, filter by difficulty, queue for
people.

The paper's stages, on the user's own corpus; its thresholds were not found, so these are ours: two of three votes
remove an item, an item that all of at least three reference models get right is too easy, and one in twenty of what was
dropped is kept for people to look at. Every item carries a record of what happened to it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from tameshi.evaluation.asking import wait
from tameshi.evaluation.ecom_qa.items import folded

T = TypeVar("T")

Fate = Literal["kept", "failed validation", "failed retrieval", "too easy", "duplicate", "no question"]


@dataclass(frozen=True)
class Candidate:
    """A question made from a snippet.

    Args:
        id: its own.
        snippet: what it was made from.
        question, answer: what is asked, and what counts as right.
        distractors: hard wrong options, for questions of choice.
    """

    id: str
    snippet: str
    question: str
    answer: str
    distractors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """What happened to a candidate.

    Args:
        candidate: the question.
        fate: kept, or why it was dropped.
        votes: of the validators, in order.
        passages: what retrieval found for it.
        references: which reference models were right.
        audit: dropped, but kept for people to look at.
        human: what a person decided, once one has.
    """

    candidate: Candidate
    fate: Fate
    votes: tuple[bool, ...] = ()
    passages: tuple[str, ...] = ()
    references: tuple[bool, ...] = ()
    audit: bool = False
    human: bool | None = None


def to_record(found: Provenance) -> dict[str, Any]:
    """A record as plain values, for a file."""
    return asdict(found)


def from_record(record: Any) -> Provenance:
    """Inverse of `to_record`, with what a person has written behind "human".

    Raises:
        ValueError: not a record, a fate that there is not, or a decision that is neither true nor false.
    """
    try:
        candidate = Candidate(**{**record["candidate"], "distractors": tuple(record["candidate"]["distractors"])})
        lists = {name: tuple(record[name]) for name in ("votes", "passages", "references")}
        found = Provenance(candidate, record["fate"], **lists, audit=record["audit"], human=record["human"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"a record lacks or has too much of {error}") from error
    if found.fate not in get_args(Fate):
        raise ValueError(f"a record's fate is one of {', '.join(get_args(Fate))}, got {found.fate!r}")
    if found.human not in (None, True, False) or isinstance(found.human, int) is not isinstance(found.human, bool):
        raise ValueError(f'"human" is true, false or null, got {found.human!r}')
    return found


def to_question(candidate: Candidate) -> dict[str, str]:
    """A question as the public file has it: a free phrase, which a grader compares with the answer (task IDC)."""
    return {"system_prompt": "", "prompt": candidate.question, "gt": candidate.answer, "task": "IDC"}


@dataclass(frozen=True)
class Benchmark:
    """What came out: the records of all candidates, kept or not."""

    records: tuple[Provenance, ...]

    @property
    def kept(self) -> tuple[Candidate, ...]:
        """What is asked in the end: kept by the checks and not refused by a person, or restored by one."""
        return tuple(r.candidate for r in self.records if (r.fate == "kept" if r.human is None else r.human))

    @property
    def for_people(self) -> tuple[Provenance, ...]:
        """What people should look at: everything kept, and the sample of what was dropped."""
        return tuple(r for r in self.records if (r.fate == "kept" or r.audit) and r.human is None)

    def decided(self, decisions: dict[str, bool]) -> Benchmark:
        """With the decisions of people: candidate id -> keep.

        Raises:
            ValueError: a decision on a candidate that there is not.
        """
        known = {r.candidate.id for r in self.records}
        if unknown := sorted(set(decisions) - known):
            raise ValueError(f"there is no candidate {unknown[0]!r} to decide on")
        return Benchmark(tuple(replace(r, human=decisions.get(r.candidate.id, r.human)) for r in self.records))

    def counts(self) -> dict[str, int]:
        """Fate -> number of candidates."""
        fates = [r.fate for r in self.records]
        return {fate: fates.count(fate) for fate in dict.fromkeys(fates)}


Generate = Callable[[str], "Sequence[Candidate] | Awaitable[Sequence[Candidate]]"]
Validate = Callable[[Candidate], "bool | Awaitable[bool]"]
Retrieve = Callable[[str, int], Sequence[str]]
Answer = Callable[[Candidate, Sequence[str]], "str | Awaitable[str]"]
"""Answers a candidate's question, with passages or without; empty where it cannot say."""


@dataclass(frozen=True)
class Pipeline:
    """The stages; each may be left out, and each may be a coroutine function (models are asked side by side).

    Args:
        generate: snippet -> questions.
        validators: each says whether a question is clear, has one objective answer, and stays true.
        needed: votes that keep a question; 2 of 3.
        retriever: finds passages; with `reader` the question is answered from them, and dropped where the answers
        differ.
        reader: answers from passages.
        references: models that answer without passages; at least three for the filter of difficulty to act.
        k: passages.
        audited: share of dropped questions that people look at.
    """

    generate: Generate
    validators: Sequence[Validate] = ()
    needed: int = 2
    retriever: Retrieve | None = None
    reader: Answer | None = None
    references: Sequence[Answer] = ()
    k: int = 3
    audited: float = 0.05
    agree: Callable[[str, str], bool] = field(default=lambda first, second: folded(first) == folded(second))

    def __post_init__(self) -> None:
        if self.validators and not 1 <= self.needed <= len(self.validators):
            raise ValueError(f"needed must lie between 1 and {len(self.validators)} validators, got {self.needed}")
        if (self.retriever is None) != (self.reader is None):
            raise ValueError("the check by retrieval needs both a retriever and a reader")
        if not 0 <= self.audited <= 1:
            raise ValueError(f"audited is a share of what was dropped, got {self.audited}")

    def run(self, snippets: Sequence[str], *, seed: int = 0) -> Benchmark:
        """Build from snippets; same snippets, stages and seed, same benchmark."""
        return wait(self.run_async(snippets, seed=seed))

    async def run_async(self, snippets: Sequence[str], *, seed: int = 0) -> Benchmark:
        """The same, where a loop is running."""
        written = await asyncio.gather(*(_value(self.generate(snippet)) for snippet in snippets))
        asked: set[str] = set()
        work: list[Awaitable[Provenance]] = []
        for candidate in (c for found in written for c in found):
            key = folded(candidate.question)
            if not key or not candidate.answer.strip():
                work.append(_value(Provenance(candidate, "no question")))
            elif key in asked:
                work.append(_value(Provenance(candidate, "duplicate")))
            else:
                asked.add(key)
                work.append(self._checked(candidate))
        records = await asyncio.gather(*work)
        drawn = np.random.default_rng(seed).random(len(records)) < self.audited
        return Benchmark(
            tuple(replace(r, audit=r.fate != "kept" and bool(d)) for r, d in zip(records, drawn, strict=True))
        )

    async def _checked(self, candidate: Candidate) -> Provenance:
        votes = tuple([bool(await _value(v(candidate))) for v in self.validators])
        if votes and sum(votes) < self.needed:
            return Provenance(candidate, "failed validation", votes)
        passages: tuple[str, ...] = ()
        if self.retriever is not None and self.reader is not None:
            passages = tuple(self.retriever(candidate.question, self.k))
            read = await _value(self.reader(candidate, passages))
            if read.strip() and not self.agree(read, candidate.answer):
                return Provenance(candidate, "failed retrieval", votes, passages)
        given = [await _value(answer(candidate, ())) for answer in self.references]
        right = tuple(self.agree(g, candidate.answer) for g in given)
        fate: Fate = "too easy" if len(right) >= 3 and all(right) else "kept"
        return Provenance(candidate, fate, votes, passages, right)


async def _value(given: T | Awaitable[T]) -> T:
    return await given if inspect.isawaitable(given) else given


def build_benchmark(
    snippets: Sequence[str],
    generator: Generate,
    validators: Sequence[Validate],
    retriever: Retrieve | None = None,
    references: Sequence[Answer] = (),
    seed: int = 0,
    *,
    reader: Answer | None = None,
) -> Benchmark:
    """`Pipeline(...).run(snippets)` in one call."""
    pipeline = Pipeline(generator, validators, min(2, len(validators)) or 1, retriever, reader, references)
    return pipeline.run(snippets, seed=seed)
