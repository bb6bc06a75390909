"""A judge without a model: an answer is right if it ends on a reference answer. It shares no code with the rules.

It reads the fenced conversation of `Grader` as a model would, so that the way to a judge can be walked offline, and it is
a second opinion on what the rules make of labels and letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tameshi.evaluation.messages import Message

_BLOCK = r"<<{name} (\w+)>>\n(.*?)\n<<end of {name} \1>>"
_DENIAL = ("不", "非", "没")


async def literal_judge(messages: Sequence[Message]) -> str:
    """Grades one answer: "Answer: CORRECT", INCORRECT, or NOT_ATTEMPTED for one that says that it does not know."""
    return grade(messages[-1]["content"])


def grade(asked: str) -> str:
    """The same from the text of the question that the judge is asked."""
    answer, references = (_block(asked, name) for name in ("text under judgement", "reference"))
    said = _plain(answer)
    if re.search("不知道|无法|不清楚", said):
        return "<reason>It gives no answer.</reason>\nAnswer: NOT_ATTEMPTED"
    for reference in map(_plain, references.splitlines()):
        if reference and said.endswith(reference) and not said[: -len(reference)].endswith(_DENIAL):
            return "<reason>It ends on the reference.</reason>\nAnswer: CORRECT"
    return "<reason>It ends on something else.</reason>\nAnswer: INCORRECT"


def _block(asked: str, name: str) -> str:
    found = re.search(_BLOCK.format(name=name), asked, re.DOTALL)
    return found[2] if found else ""


def _plain(text: str) -> str:
    return re.sub(r"\W", "", text).casefold()
