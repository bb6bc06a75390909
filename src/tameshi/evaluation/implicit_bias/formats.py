"""Readers of public test sets that the user points to; none ships, for licences differ and the lists can offend."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tameshi.evaluation.implicit_bias.contrasts import _csv, _text


@dataclass(frozen=True)
class Triple:
    """A StereoSet item: a context and its three continuations."""

    id: str
    kind: str
    stereotype: str
    anti: str
    unrelated: str


@dataclass(frozen=True)
class BBQItem:
    """A BBQ question."""

    id: str
    context: str
    question: str
    options: tuple[str, str, str]
    label: int
    ambiguous: bool
    category: str


def read_crows_pairs(path: str | Path) -> list[tuple[str, str]]:
    """(stereotyped, other) sentences of a CrowS-Pairs CSV; for anti-stereotypical rows the order is turned."""
    rows = _csv(Path(path), ("sent_more", "sent_less", "stereo_antistereo"))
    return [
        (r["sent_more"], r["sent_less"]) if r["stereo_antistereo"] == "stereo" else (r["sent_less"], r["sent_more"])
        for r in rows
    ]


def read_stereoset(path: str | Path, part: str = "intrasentence") -> list[Triple]:
    """Items of a StereoSet JSON file.

    Raises:
        ValueError: not JSON of that shape; names the item.
    """
    found = _json(Path(path))
    items = found.get("data", {}).get(part) if isinstance(found, dict) else None
    if not isinstance(items, list):
        raise ValueError(f"{path} is not a StereoSet file: it has no data.{part}")
    made = []
    for index, item in enumerate(items):
        try:
            by_label = {s["gold_label"]: s["sentence"] for s in item["sentences"]}
            made.append(
                Triple(
                    item["id"],
                    item["bias_type"],
                    by_label["stereotype"],
                    by_label["anti-stereotype"],
                    by_label["unrelated"],
                )
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"item {index} of {path} lacks {error}") from error
    return made


def read_winobias(path: str | Path) -> list[tuple[str, str, str]]:
    """(sentence, pronoun, occupation it refers to) of a WinoBias text file.

    Raises:
        ValueError: a line without two marked spans; names it.
    """
    made = []
    for number, line in enumerate(_text(Path(path)).splitlines(), 1):
        text = re.sub(r"^\d+\s+", "", line.strip())
        if not text:
            continue
        marked = re.findall(r"\[([^\]]+)\]", text)
        if len(marked) != 2:
            raise ValueError(f"line {number} of {path} must mark two spans in brackets, got {len(marked)}")
        made.append((re.sub(r"[\[\]]", "", text), marked[1], marked[0]))
    return made


def read_bbq(path: str | Path) -> list[BBQItem]:
    """Questions of a BBQ JSON-lines file.

    Raises:
        ValueError: a line that is not JSON or lacks a field; names it.
    """
    made = []
    for number, line in enumerate(_text(Path(path)).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            made.append(
                BBQItem(
                    id=f"{row['category']}-{row['example_id']}",
                    context=row["context"],
                    question=row["question"],
                    options=(row["ans0"], row["ans1"], row["ans2"]),
                    label=int(row["label"]),
                    ambiguous=row["context_condition"] == "ambig",
                    category=row["category"],
                )
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number} of {path} is not a BBQ question: {error}") from error
    return made


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
