"""Twenty instructions about the form of an answer, each with a function that sees whether it was followed.

In the manner of IFEval (Zhou et al. 2023, arXiv:2311.07911): no judge is needed, and what the answer says does not
matter. Each instruction is asked about two subjects, so that one half can choose a setting and the other can judge it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

SUBJECTS = ("a rainy day in a harbour town", "how bread is baked")


@dataclass(frozen=True)
class FormatCheck:
    """One instruction.

    Args:
        name: of the check.
        instruction: appended to the request.
        followed: answer -> whether its form is the one asked for; an empty answer has none.
    """

    name: str
    instruction: str
    followed: Callable[[str], bool]

    def prompts(self) -> list[str]:
        """The request about every subject."""
        return [f"Write about {subject}. {self.instruction}" for subject in SUBJECTS]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines() if line.strip()]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text)


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]


def _json(text: str) -> object:
    try:
        found: object = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return found


def _bullets(text: str, mark: str, count: int) -> bool:
    return len(lines := _lines(text)) == count and all(re.match(mark, line) for line in lines)


CHECKS: tuple[FormatCheck, ...] = (
    FormatCheck("json", "Answer with one JSON object and nothing else.", lambda a: isinstance(_json(a), dict)),
    FormatCheck(
        "json keys",
        'Answer with one JSON object with exactly the keys "title" and "text".',
        lambda a: isinstance(found := _json(a), dict) and set(found) == {"title", "text"},
    ),
    FormatCheck(
        "json list",
        "Answer with a JSON list of exactly three strings and nothing else.",
        lambda a: isinstance(found := _json(a), list) and len(found) == 3 and all(isinstance(f, str) for f in found),
    ),
    FormatCheck(
        "three bullets",
        "Answer with exactly three bullet points, each on a line that begins with '- '.",
        lambda a: _bullets(a, r"- \S", 3),
    ),
    FormatCheck(
        "four numbers",
        "Answer with a list of four points, numbered 1. to 4., one a line.",
        lambda a: _bullets(a, r"\d\. ", 4) and [line[0] for line in _lines(a)] == list("1234"),
    ),
    FormatCheck("upper case", "Use capital letters only.", lambda a: bool(_words(a)) and a == a.upper()),
    FormatCheck("lower case", "Use small letters only.", lambda a: bool(_words(a)) and a == a.lower()),
    FormatCheck("no commas", "Do not use any commas.", lambda a: bool(_words(a)) and "," not in a),
    FormatCheck("one sentence", "Use exactly one sentence.", lambda a: len(_sentences(a)) == 1 and bool(_words(a))),
    FormatCheck("two sentences", "Use exactly two sentences.", lambda a: len(_sentences(a)) == 2),
    FormatCheck("at most ten words", "Use at most ten words.", lambda a: 0 < len(_words(a)) <= 10),
    FormatCheck("at least forty words", "Use at least forty words.", lambda a: len(_words(a)) >= 40),
    FormatCheck(
        "two paragraphs",
        "Write exactly two paragraphs with an empty line between them.",
        lambda a: len(_paragraphs(a)) == 2,
    ),
    FormatCheck(
        "keyword twice",
        "Use the word 'slowly' exactly twice.",
        lambda a: [w.lower() for w in _words(a)].count("slowly") == 2,
    ),
    FormatCheck(
        "both keywords",
        "Use the words 'window' and 'morning'.",
        lambda a: {"window", "morning"} <= {w.lower() for w in _words(a)},
    ),
    FormatCheck(
        "forbidden word",
        "Do not use the word 'the'.",
        lambda a: bool(_words(a)) and "the" not in {w.lower() for w in _words(a)},
    ),
    FormatCheck(
        "quotation marks",
        "Put the whole answer in double quotation marks.",
        lambda a: len(a.strip()) > 2 and a.strip()[0] == '"' == a.strip()[-1],
    ),
    FormatCheck("title", "Begin with a title in << >>.", lambda a: bool(re.match(r"\s*<<[^<>\n]+>>", a))),
    FormatCheck(
        "ending",
        "End with the words 'That is all.' and nothing after them.",
        lambda a: a.strip().endswith("That is all."),
    ),
    FormatCheck("question", "End with a question mark.", lambda a: bool(_words(a)) and a.strip().endswith("?")),
)
