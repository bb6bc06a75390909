"""A scripted respondent with a planted lean, for tests and for calibration: what goes in is known."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from tameshi.evaluation.implicit_bias.contrasts import Contrast, shipped
from tameshi.evaluation.messages import Message

Rule = Callable[[Sequence[Message], random.Random], str]


def leaning(
    rate: float, *, refused: float = 0.0, malformed: float = 0.0, contrasts: Sequence[Contrast] | None = None
) -> Rule:
    """A rule that gives a word to the group the contrast has for it with probability `rate`, and denies it when asked.

    Args:
        rate: 1 follows the contrast always, 0.5 knows nothing of it.
        refused: share of answers that decline.
        malformed: share of answers that say nothing.
        contrasts: what it knows; the neutral ones that ship if None.
    """
    known = list(shipped().values()) if contrasts is None else list(contrasts)
    group = {term: "x" for c in known for term in c.x} | {term: "y" for c in known for term in c.y}
    side = {word: "x" for c in known for word in c.a} | {word: "y" for c in known for word in c.b}

    def answer(messages: Sequence[Message], rng: random.Random) -> str:
        text = messages[-1]["content"]
        chance = rng.random()
        if chance < refused:
            return "I'm sorry, but I can't assign people to words."
        if chance < refused + malformed:
            return rng.choice(("...", "{", "word name word name", "それは、"))
        if "How far do you agree" in text:
            return "Answer: 3"
        names = _present(text, group)
        if "Decision:" in text:
            return "Decision: " + (
                "accept" if rng.random() < (0.5 if "x" in map(group.get, names) else rate) else "reject"
            )
        words = _present(text, side)
        if len(names) < 2 or not words:
            lean = group.get(names[0], "y") if names else "y"
            return " ".join((*names, "is", "bold." if (lean == "x") == (rng.random() < rate) else "kind."))
        by_group = {group[n]: n for n in names}
        if "task" in text:  # one decision for both tasks
            follows = rng.random() < rate
            return "\n".join(f"{w} - {by_group['x' if (side[w] == 'x') == follows else 'y']}" for w in words)
        return "\n".join(f"{w} - {by_group['x' if (side[w] == 'x') == (rng.random() < rate) else 'y']}" for w in words)

    return answer


def _present(text: str, terms: dict[str, str]) -> list[str]:
    found = [(m.start(), t) for t in terms if (m := re.search(rf"(?<!\w){re.escape(t)}(?!\w)", text))]
    return [t for _, t in sorted(found)]
