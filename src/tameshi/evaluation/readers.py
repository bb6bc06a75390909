"""Answer readers: a value, or `Unparsed` with the reason. Never a silent wrong answer.

Full-width forms are folded first (NFKC). An explicit answer line ("Answer: ...", 答案：, 答え：) outranks the text
before it. Within what is read the last label wins, unless it is denied ("not solvable", 解けるとは言えない) or named
together with another in one breath ("YES and NO").
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from tameshi.evaluation.messages import Unparsed

Labels = Mapping[str, Sequence[str]]
"""Label -> the forms in which it may be written, {"YES": ("yes", "はい"), ...}."""

YES_NO: Labels = {
    "YES": ("yes", "はい", "是", "是的"),
    "NO": ("no", "いいえ", "否", "不是"),
}

LONGEST_JSON = 200_000  # characters
MOST_STARTS = 1_000  # brackets tried that open no JSON, so that a wall of brackets costs no more than a sentence
MOST_MARKERS = 50  # answer lines looked at, from the last: a wall of them costs no more than a few

_MARKER = re.compile(
    r"(?:(?:final\s+)?answer(?:\s+is)?|答案[是为為]?|回答|答えは?|答(?=\s*:))[\s*_`\"']*(?::|(?<=is)\s|(?<=[是为為は]))",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[\n。！？!?；;]+|\.(?=\s|$)")
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|no\s+longer)(?:\s+(?:a|an|the|be|say|answer|call\s+it))?|n't(?:\s+be)?|不|非|没有|不是)[\s\"'*(「]*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"^[\s\"'*)」、,]*(?:では?な|じゃな|ではあり|じゃあり|とは言え|とはいえ|とは限ら|は誤り|is\s+(?:wrong|incorrect|not\b))",
    re.IGNORECASE,
)
_TOGETHER = re.compile(
    r"^[\s\"'*()「」、,]*(?:and|or|nor|/|\||&|和|或|或者|と|か|または|や|及び)[\s\"'*()「」A-D.]*$", re.IGNORECASE
)


def fold(text: str) -> str:
    """Text with full-width letters, digits and punctuation in their plain form, and straight apostrophes."""
    return unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")


class _Found(NamedTuple):
    label: str
    start: int
    end: int
    denied: bool


def read_label(text: str, labels: Labels, *, marked_only: bool = False) -> str | Unparsed:
    """Which label the answer ends on.

    Args:
        text: the whole answer, chain included.
        labels: what there is to choose from.
        marked_only: accept only an explicit answer line.

    Returns:
        The label, or `Unparsed`: none there, the last one denied, or two in one breath.
    """
    folded = fold(text)
    find = _finder(tuple((label, tuple(forms)) for label, forms in labels.items()))
    for marker in reversed(list(_MARKER.finditer(folded))[-MOST_MARKERS:]):
        line = folded[marker.end() :].lstrip(" \t*_`\"'\n").split("\n", 1)[0]
        found = find(line)
        if found:
            clause = _SENTENCE.split(line[found[0].start :], maxsplit=1)[0]
            return _decide(line, find(line[: found[0].start + len(clause)]) or found[:1])
    if marked_only:
        return Unparsed("no answer line")
    for sentence in reversed([s for s in _SENTENCE.split(folded) if s.strip()]):
        found = find(sentence)
        if found:
            return _decide(sentence, found)
    return Unparsed("names none of the labels")


def read_yes_no(text: str) -> str | Unparsed:
    """ "YES" or "NO"."""
    return read_label(text, YES_NO)


def read_letter(text: str, letters: str = "ABCD") -> str | Unparsed:
    """A capital letter that stands alone; the last one wins. After an answer line a small letter will do."""
    folded = fold(text)
    alone = rf"(?<![A-Za-z0-9])[{letters}](?![A-Za-z0-9'])"
    for marker in reversed(list(_MARKER.finditer(folded))[-MOST_MARKERS:]):
        line = folded[marker.end() :].lstrip(" \t*_`\"'\n").split("\n", 1)[0]
        found = list(re.finditer(alone, line, re.IGNORECASE))
        if found:
            return _one_letter(line, found[:2], chosen=0)
    found = list(re.finditer(alone + r"(?!(?<=A)\s+(?!and\b|or\b)[a-z])", folded))  # "A man" is an article
    return _one_letter(folded, found[-2:], chosen=-1) if found else Unparsed("no letter stands alone")


def read_number(text: str, *, low: float, high: float, tag: str = "score", whole: bool = False) -> float | Unparsed:
    """The last number in `<tag>...</tag>`; a number outside [low, high] is unparsed, never clamped."""
    folded = fold(text)
    inside = re.findall(rf"<{tag}>\s*([^<]*?)\s*</{tag}>", folded, re.IGNORECASE)
    if not inside:
        return Unparsed(f"no <{tag}>")
    if not re.fullmatch(r"[-+]?\d{1,9}(?:\.\d{1,9})?" if not whole else r"[-+]?\d{1,9}", inside[-1]):
        return Unparsed(f"<{tag}> holds no {'whole ' if whole else ''}number")
    value = float(inside[-1])
    return value if low <= value <= high else Unparsed(f"<{tag}> lies outside {low:g} to {high:g}")


def read_json(text: str, check: Callable[[Any], bool] = lambda value: isinstance(value, dict)) -> Any | Unparsed:
    """The last JSON object or array in the answer that passes `check`, fenced or bare."""
    if len(text) > LONGEST_JSON:
        return Unparsed("too long to be read as JSON")
    decoder = json.JSONDecoder(parse_constant=lambda name: None)
    place, kept, seen, failed = 0, None, False, 0
    while failed < MOST_STARTS and (start := _next_open(text, place)) is not None:
        try:
            value, place = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            place, failed = start + 1, failed + 1
            continue
        seen = True
        if check(value):
            kept = value
    if kept is not None:
        return kept
    return Unparsed("the JSON does not have the form asked for" if seen else "no JSON")


def read_items(text: str, *, separators: str = ",，、;；") -> tuple[str, ...]:
    """The parts of a list on one line, each once, in their order."""
    parts = (p.strip() for p in re.split(f"[{re.escape(separators)}]", unicodedata.normalize("NFC", text)))
    return tuple(dict.fromkeys(p for p in parts if p))


def _decide(sentence: str, found: Sequence[_Found]) -> str | Unparsed:
    last = found[-1]
    if last.denied:
        return Unparsed(f"denies {last.label}")
    if len(found) > 1 and found[-2].label != last.label and _TOGETHER.match(sentence[found[-2].end : last.start]):
        return Unparsed(f"names {found[-2].label} and {last.label} together")
    return last.label


def _one_letter(line: str, found: Sequence[re.Match[str]], chosen: int) -> str | Unparsed:
    letters = [match[0].upper() for match in found]
    if len(set(letters)) > 1 and _TOGETHER.match(line[found[0].end() : found[1].start()]):
        return Unparsed(f"names {letters[0]} and {letters[1]} together")
    return letters[chosen]


@cache
def _finder(labels: tuple[tuple[str, tuple[str, ...]], ...]) -> Callable[[str], list[_Found]]:
    forms = {fold(form).casefold(): label for label, written in labels for form in (*written, label)}
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    pattern = re.compile("|".join(_bounded(form) for form in longest_first), re.IGNORECASE)

    def find(text: str) -> list[_Found]:
        return [
            _Found(
                forms[match[0].casefold()],
                match.start(),
                match.end(),
                bool(_DENIED_BEFORE.search(text[: match.start()]) or _DENIED_AFTER.match(text[match.end() :])),
            )
            for match in pattern.finditer(text)
        ]

    return find


def _bounded(form: str) -> str:
    """A form of letters must not be part of a longer word; scripts without spaces have no such border."""
    head = r"(?<![A-Za-z0-9])" if form[0].isascii() and form[0].isalnum() else ""
    tail = r"(?![A-Za-z0-9])" if form[-1].isascii() and form[-1].isalnum() else ""
    return f"{head}{re.escape(form)}{tail}"


def _next_open(text: str, start: int) -> int | None:
    places = [p for p in (text.find("{", start), text.find("[", start)) if p >= 0]
    return min(places) if places else None


__all__ = [
    "YES_NO",
    "Labels",
    "fold",
    "read_items",
    "read_json",
    "read_label",
    "read_letter",
    "read_number",
    "read_yes_no",
]
