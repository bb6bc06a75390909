"""A chain in steps: by its paragraphs, or by a judge where a paragraph holds many."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tameshi.evaluation.asking import Asker
from tameshi.evaluation.judge import DATA, fence
from tameshi.evaluation.messages import Unanswered, Unparsed, system, user

LONG = 1500  # characters; a step that is longer holds several
TENTH = 0.1  # of the text: what a split by a model may lose or add

RULES = (
    f"Divide a text into its steps of reasoning. {DATA} Copy the whole text word for word and leave nothing out; put <step> "
    "before and </step> after each step, and write nothing else."
)


def split_steps(chain: str) -> tuple[str, ...]:
    """The chain in steps: at blank lines, or, where there are none, at line breaks. Nothing is lost but white space."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", chain) if block.strip()]
    if len(blocks) < 2:
        blocks = [line.strip() for line in chain.splitlines() if line.strip()]
    return tuple(blocks)


def kept_length(chain: str, steps: Sequence[str]) -> float:
    """Characters of the steps over characters of the chain, white space aside: a split by a model must stay within 0.1 of 1."""
    whole = len("".join(chain.split()))
    return len("".join("".join(steps).split())) / whole if whole else 1.0


async def steps_of(ask: Asker, chain: str) -> tuple[str, ...] | Unparsed | Unanswered:
    """The steps by `split_steps`, or, if one of them is longer than 1,500 characters, as a model divides the text.

    Args:
        ask: the model in its role as judge; one call, and one more if the split loses or adds more than a tenth.
        chain: the reasoning.
    """
    steps = split_steps(chain)
    if all(len(step) <= LONG for step in steps):
        return steps
    for _ in range(2):
        told = await ask([system(RULES), user(fence(chain, "text"))])
        if isinstance(told, Unanswered):
            return told
        found = tuple(s.strip() for s in re.findall(r"<step>(.*?)</step>", told.text, re.DOTALL) if s.strip())
        if found and abs(kept_length(chain, found) - 1) <= TENTH:
            return found
    return Unparsed("the text could not be divided into steps without loss")
