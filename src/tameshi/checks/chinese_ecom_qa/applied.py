"""What can be done with a file of questions of one's own, or with a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tameshi.doors import files
from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.ecom_qa import construction, retrieval, scoring
from tameshi.evaluation.ecom_qa.audit import audit
from tameshi.evaluation.ecom_qa.construction import Pipeline
from tameshi.evaluation.ecom_qa.items import load_ecomqa
from tameshi.evaluation.ecom_qa.scoring import score_items
from tameshi.nouns import apply
from tameshi.specimens.endpoint import Endpoint


@apply("chinese-ecom-qa")
def look(data: Path, *, answers: Path | None = None, output: Path | None = None) -> str:
    """Audit a file of questions, and score answers to them without a judge.

    Args:
        data: your copy of the public file, or questions of your own in its form.
        answers: answers in the order of the questions: JSON lines, each a text or an object with "answer".
        output: a JSON file for the scores of every question.
    """
    items = load_ecomqa(data)
    told = str(audit(items))
    if answers is None:
        return told
    scored = score_items(items, _read_answers(answers, len(items)))
    if output is not None:
        files.write(output, "".join(json.dumps(vars(s), ensure_ascii=False) + "\n" for s in scored))
    return f"{told}\n\n{scoring.summary(scored).table()}"


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
        output: a JSON-lines file for the records.
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
