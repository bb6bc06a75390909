"""The questions of ChineseEcomQA, or of a shop of one's own in the same form: read, cleaned, and told apart by kind.

A record holds system_prompt, prompt, gt and task. The public file (which has no licence and so is never shipped) has
traps that this reader knows: of the 100 questions without a system prompt 96 carry the author's hidden rationale after
the first line of their gold; 14 prompts stand twice with different golds, of which either is right; candidates and
labels stand in the prompt's own text.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TASKS = ("AC", "BC", "CC", "IC", "IDC", "ITC", "PC", "RLC", "RVC", "SC")
NAMES = {
    "IC": "industry categorisation",
    "IDC": "industry concept",
    "CC": "category concept",
    "BC": "brand concept",
    "AC": "attribute words",
    "SC": "misspelt queries",
    "ITC": "intent",
    "RVC": "review summaries",
    "RLC": "relevance",
    "PC": "personal preference",
}
COLUMNS = ("system_prompt", "prompt", "gt", "task")
OFFICIAL_COUNT, OFFICIAL_SHA256 = 1800, "70513b8a5a6ec288d57f0645e68219ae78e429c6407c03eae97d2e594ff118b1"

Kind = Literal["set", "label", "letter", "phrase", "free"]

_CANDIDATES = re.compile(r"候选(?:细粒度品类|品类|类目)\*{0,3}\s*[:：]\s*(.+)")
_DIMENSIONS = re.compile(r"[纬维]度列表\*{0,3}\s*[:：]\s*\[(.*?)\]", re.DOTALL)
_INTENTS = ("买什么", "怎么办", "怎么样", "电商通用百科知识", "怎么挑/怎么买")


class DatasetFormatError(ValueError):
    """The file is not in the form of the benchmark; names the line."""


@dataclass(frozen=True)
class Item:
    """One question.

    Args:
        id: its number in the file.
        task: one of `TASKS`.
        system, prompt: what is asked.
        golds: accepted answers; several where the same prompt stands with several golds.
        kind: how an answer is read: a set of candidates, a label, a letter, a phrase that must match, or free text for
        a judge.
        options: the labels or candidates there are; empty where any text may come.
        form: which of the task's forms it has ("relevance" or "dimension" for RLC, ...); majorities are taken within
        it.
        rationale: what stood hidden behind the gold.
    """

    id: str
    task: str
    system: str
    prompt: str
    golds: tuple[str, ...]
    kind: Kind
    options: tuple[str, ...] = ()
    form: str = ""
    rationale: str = ""

    @property
    def gold(self) -> str:
        return self.golds[0]


def load_ecomqa(path: str | Path) -> list[Item]:
    """Read a file of questions: JSON lines or one JSON array, with or without a byte-order mark.

    Warns when a file of the public name or size is not the public file.

    Raises:
        DatasetFormatError: not there, not JSON, a column missing, no text, or an unknown task; names the line.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise DatasetFormatError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetFormatError(f"{path} is not UTF-8 text") from error
    items = from_records(_records(text, str(path)), source=str(path))
    same = hashlib.sha256(raw).hexdigest() == OFFICIAL_SHA256
    if not same and (file.name == "ChineseEcomQA.jsonl" or len(items) == OFFICIAL_COUNT):
        warnings.warn(
            f"{path} holds {len(items)} questions and is not the public file of {OFFICIAL_COUNT} that this was checked on; "
            "its scores compare with nothing published",
            UserWarning,
            stacklevel=2,
        )
    return items


def from_records(records: Iterable[tuple[int, Mapping[str, Any]]], *, source: str = "the data") -> list[Item]:
    """Make items of (line number, record).

    Raises:
        DatasetFormatError: as `load_ecomqa`.
    """
    made: list[Item] = []
    for line, record in records:
        if missing := [c for c in COLUMNS if c not in record]:
            raise DatasetFormatError(
                f"line {line} of {source} lacks {', '.join(missing)}; it needs {', '.join(COLUMNS)}"
            )
        if wrong := [c for c in COLUMNS if not isinstance(record[c], str)]:
            raise DatasetFormatError(
                f"line {line} of {source}: {wrong[0]} must be text, got {type(record[wrong[0]]).__name__}"
            )
        if record["task"] not in TASKS:
            raise DatasetFormatError(
                f"line {line} of {source} has the unknown task {record['task']!r}; known are {', '.join(TASKS)}"
            )
        gold, rationale = clean_gold(record["gt"])
        if not gold or not record["prompt"].strip():
            raise DatasetFormatError(f"line {line} of {source} has an empty {'gt' if not gold else 'prompt'}")
        kind, options, form = _kind(record["task"], record["system_prompt"], record["prompt"], gold)
        made.append(
            Item(
                str(len(made)), record["task"], record["system_prompt"], record["prompt"], (gold,), kind, options, form,
                rationale,
            )
        )  # fmt: skip
    if not made:
        raise DatasetFormatError(f"{source} holds no question")
    return _join_golds(made)


def clean_gold(text: str) -> tuple[str, str]:
    """The first non-empty line, and what is hidden behind it."""
    lines = text.strip().splitlines()
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return "", ""
    return lines[first].strip(), "\n".join(lines[first + 1 :]).strip()


def to_record(item: Item) -> dict[str, str]:
    """The record of an item, for a file in the same form."""
    return {"system_prompt": item.system, "prompt": item.prompt, "gt": item.gold, "task": item.task}


def _records(text: str, source: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise DatasetFormatError(f"line {error.lineno} of {source} is not JSON: {error.msg}") from error
        entries = list(enumerate(found, 1))
    else:
        entries = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                entries.append((number, json.loads(line)))
            except json.JSONDecodeError as error:
                raise DatasetFormatError(f"line {number} of {source} is not JSON: {error.msg}") from error
    for number, record in entries:
        if not isinstance(record, dict):
            raise DatasetFormatError(f"line {number} of {source} must be an object, got {type(record).__name__}")
        yield number, record


def _kind(task: str, system: str, prompt: str, gold: str) -> tuple[Kind, tuple[str, ...], str]:
    if task == "IC":
        return "set", candidates(prompt), ""
    if task == "PC":
        return "letter", ("A", "B", "C", "D"), ""
    if task == "RVC":
        return "label", ("正确", "错误"), ""
    if task == "ITC":
        return "label", _INTENTS, ""
    if task == "RLC":
        if gold in ("相关", "不相关"):
            return "label", ("相关", "不相关"), "relevance"
        found = _DIMENSIONS.search(prompt)
        listed = tuple(p.strip().strip("\"'“”") for p in re.split("[,，、]", found[1])) if found else ()
        return ("label" if gold in listed else "phrase"), listed, "dimension"
    if task == "CC":
        if gold in ("是", "否"):
            return "label", ("是", "否"), "yes or no"
        listed = candidates(prompt)
        return ("label" if gold in listed else "phrase"), listed, "category"
    return ("free" if task in ("IDC", "BC") else "phrase"), (), ""


def candidates(prompt: str) -> tuple[str, ...]:
    """The candidates that a prompt lists, in order, each once; the last list of the prompt."""
    found = _CANDIDATES.findall(prompt)
    return tuple(dict.fromkeys(p.strip() for p in re.split("[,，]", found[-1]) if p.strip())) if found else ()


def _join_golds(items: list[Item]) -> list[Item]:
    golds: dict[tuple[str, str, str], list[str]] = {}
    for item in items:
        golds.setdefault((item.task, item.system, item.prompt), []).append(item.gold)
    joined = []
    for item in items:
        accepted = dict.fromkeys([item.gold, *golds[item.task, item.system, item.prompt]])
        joined.append(item if len(accepted) == 1 else Item(**{**vars(item), "golds": tuple(accepted)}))
    return joined


def folded(text: str) -> str:
    """Text for comparison: full-width forms folded, lower case, without spaces and punctuation of either width."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in plain if unicodedata.category(c)[0] not in "ZPC" and c not in "`^|~")
