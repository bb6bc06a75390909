"""Rated texts of the user's own: CSV, JSON or JSON lines, and the public SummEval file by its fields."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tameshi.evaluation.active_critic.prompts import Example

OUTPUTS = ("output", "system_output")
SUMMEVAL = ("coherence", "consistency", "fluency", "relevance")


def read_rated(path: str | Path, *, score: str = "score") -> tuple[list[Example], list[float]]:
    """Examples and the scores of people.

    Args:
        path: a .csv file, or JSON (an array, or one object a line). Columns: output (or system_output), and where there
            are, source, doc_id or group, id.
        score: column of the score, several with commas between to be averaged. A column "scores" that holds an object,
            as in SummEval, is looked into; without the column asked for, the mean of its four is taken (our choice).

    Raises:
        ValueError: not readable, a column missing, or a score that is no number; names the row.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text: {error}") from error
    rows = _rows(text, str(path), csv_file=file.suffix.lower() == ".csv")
    examples, scores = [], []
    sources: dict[str, str] = {}  # numbered, because a group's name stands in rows and reports, and its text must not
    for number, row in enumerate(rows, 1):
        output = next((row[c] for c in OUTPUTS if isinstance(row.get(c), str)), None)
        if output is None:
            raise ValueError(f"row {number} of {path} has no text under output; it has {', '.join(map(str, row))}")
        source = str(row.get("source") or "")
        numbered = sources.setdefault(source or str(number), f"source {len(sources) + 1}")
        group = str(row.get("group") or row.get("doc_id") or numbered)
        examples.append(Example(str(row.get("id") or number - 1), source, output, group))
        scores.append(_score(row, score, number, str(path)))
    if not examples:
        raise ValueError(f"{path} holds no rated text")
    return examples, scores


def _rows(text: str, path: str, *, csv_file: bool) -> list[Mapping[str, Any]]:
    if csv_file:
        return list(csv.DictReader(io.StringIO(text)))
    try:
        if text.lstrip().startswith("["):
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not all(isinstance(row, dict) for row in found):
        raise ValueError(f"{path} must hold one object for each text")
    return list(found)


def _score(row: Mapping[str, Any], score: str, number: int, path: str) -> float:
    held: Mapping[str, Any] = row
    names = [n.strip() for n in score.split(",")]
    if not all(n in row for n in names) and isinstance(row.get("scores"), dict):
        held = row["scores"]
        if not all(n in held for n in names):
            names = [n for n in SUMMEVAL if n in held]
    if not names or not all(n in held for n in names):
        raise ValueError(f"row {number} of {path} has no score under {score}; it has {', '.join(map(str, held))}")
    try:
        values = [float(held[n]) for n in names]
    except (TypeError, ValueError) as error:
        raise ValueError(f"row {number} of {path} has a score that is no number: {error}") from error
    return sum(values) / len(values)
