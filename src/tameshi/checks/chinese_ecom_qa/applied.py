"""What can be done with a file of questions of one's own, or with a corpus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tameshi.doors import files
from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import wait
from tameshi.evaluation.ecom_qa import construction, retrieval, scoring
from tameshi.evaluation.ecom_qa.audit import audit
from tameshi.evaluation.ecom_qa.construction import Benchmark, Pipeline
from tameshi.evaluation.ecom_qa.items import Item, load_ecomqa
from tameshi.evaluation.ecom_qa.judging import SAMPLE, Agreement, Grader, rules_beside_judge, score_with
from tameshi.evaluation.ecom_qa.scoring import Scored, score_items
from tameshi.nouns import apply
from tameshi.specimens.endpoint import Endpoint


@apply("chinese-ecom-qa")
def look(
    data: Path,
    *,
    answers: Path | None = None,
    grader: str = "",
    max_calls: int = 2000,
    output: Path | None = None,
    seed: int = 0,
) -> str:
    """Audit a file of questions, and score answers to them, by rules alone or with a judge for free answers.

    Args:
        data: your copy of the public file, or questions of your own in its form.
        answers: answers in the order of the questions: JSON lines, each a text or an object with "answer".
        grader: model that grades free answers, and 100 others to be held against the rules; left out, free answers
        are matched.
        max_calls: of the grader; nothing is sent if more could be needed.
        output: a JSON file for the scores of every question.
        seed: which 100 answers.
    """
    items = load_ecomqa(data)
    told = str(audit(items))
    if answers is None:
        if grader:
            raise ValueError("a grader needs answers to grade; pass --answers")
        return told
    given = _read_answers(answers, len(items))
    if grader:
        scored, agreement = _graded(grader, items, given, max_calls, seed)
        told = f"{told}\n\n{agreement}"
    else:
        scored = score_items(items, given)
    if output is not None:
        files.write(output, "".join(json.dumps(vars(s), ensure_ascii=False) + "\n" for s in scored))
    return f"{told}\n\n{scoring.summary(scored).table()}"


def _graded(
    grader: str, items: Sequence[Item], answers: Sequence[str], max_calls: int, seed: int
) -> tuple[list[Scored], Agreement]:
    free = sum(i.kind == "free" for i in items)
    beside = min(SAMPLE, sum(i.kind in ("label", "letter") for i in items))
    Estimate({"judge": free + beside}).check(max_calls).announce()
    ask = Endpoint.open(grader).in_world(seed).asker(role="judge", ledger=Ledger(max_calls), temperature=0)
    judge = Grader(ask)

    async def every() -> tuple[list[Scored], Agreement]:
        scored = await asyncio.gather(*(score_with(judge, i, a) for i, a in zip(items, answers, strict=True)))
        return list(scored), await rules_beside_judge(judge, items, answers, seed=seed)

    return wait(every())


def _read_answers(path: Path, count: int) -> list[str]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} must hold one JSON value a line: {error}") from error
    given = [line.get("answer") if isinstance(line, dict) else line for line in lines]
    found = [answer for answer in given if isinstance(answer, str)]
    if len(found) != count or len(given) != count:
        raise ValueError(
            f'{path} must hold {count} answers, each a text or an object with "answer"; it holds {len(found)}'
        )
    return found


@apply("chinese-ecom-qa", name="build")
def build(
    snippets: Path,
    output: Path,
    *,
    model: str = "specimen:shop-builder",
    validator: str = "",
    references: tuple[str, ...] = (),
    per_snippet: int = 2,
    max_calls: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Build a benchmark out of a corpus of yours; every question is written with the record of what happened to it.

    Args:
        snippets: a UTF-8 file with one snippet a line; they are also what retrieval searches.
        output: a JSON-lines file for the records; `release` makes questions of it once people have looked.
        model: writes the questions, and answers from passages.
        validator: votes three times on each question; the same model if left out.
        references: models that answer without passages; from three on, what all get right is dropped as too easy.
        per_snippet: questions for each snippet, at most.
        max_calls: in all; nothing is sent if more could be needed.
    """
    from tameshi.evaluation.ecom_qa import builders

    try:
        lines = [line.strip() for line in snippets.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{snippets} must be a UTF-8 file with one snippet a line: {error}") from error
    if not lines:
        raise ValueError(f"{snippets} holds no snippet")
    at_most = len(lines) * per_snippet
    estimate = Estimate(
        {"writer": len(lines), "validator": 3 * at_most, "reader": at_most, "references": len(references) * at_most}
    )
    estimate.check(max_calls).announce()
    ledger = Ledger(max_calls)
    writes = Endpoint.open(model).in_world(seed)
    votes = Endpoint.open(validator).in_world(seed) if validator else writes
    asks = [Endpoint.open(r).in_world(seed).asker(role="reference", ledger=ledger) for r in references]
    pipeline = Pipeline(
        generate=builders.writer(writes.asker(role="writer", ledger=ledger), count=per_snippet),
        validators=[builders.voter(votes.asker(role="validator", ledger=ledger, temperature=0.7)) for _ in range(3)],
        retriever=retrieval.BM25(lines),
        reader=builders.reader(writes.asker(role="reader", ledger=ledger)),
        references=[builders.reader(ask) for ask in asks],
    )
    found = pipeline.run(lines, seed=seed)
    files.write(
        output, "".join(json.dumps(construction.to_record(r), ensure_ascii=False) + "\n" for r in found.records)
    )
    return {"kept": len(found.kept), "for people": len(found.for_people), **found.counts(), "calls": dict(ledger.calls)}


@apply("chinese-ecom-qa", name="release")
def release(records: Path, output: Path) -> dict[str, Any]:
    """Make the questions that stay out of what `build` wrote, in the form that the task `chinese_ecom_qa` reads.

    A person decides by writing true or false behind "human" in a record; without that the stages have decided.

    Args:
        records: the JSON-lines file of `build`.
        output: a JSON-lines file for the questions.
    """
    try:
        lines = [json.loads(line) for line in records.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        found = Benchmark(tuple(construction.from_record(line) for line in lines))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValueError) as error:
        raise ValueError(f"{records} must be a file that `apply chinese-ecom-qa build` wrote: {error}") from error
    if not found.kept:
        raise ValueError(f"{records} holds no question that was kept")
    made = [construction.to_question(candidate) for candidate in found.kept]
    files.write(output, "".join(json.dumps(question, ensure_ascii=False) + "\n" for question in made))
    decided = sum(record.human is not None for record in found.records)
    return {"questions": len(made), "decided by people": decided, "left for people": len(found.for_people)}
