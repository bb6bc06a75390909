"""Texts whose scores are planted as words, and a scripted judge that counts them: what a critic must find is known.

People score a text by how often "clearly" and "kindly" stand in it. The judge answers the questions of stage 1, and
rewrites an instruction, with JSON, and scores by counting, so that a right procedure agrees with people almost wholly, and a wrong one does not.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence

import numpy as np

from tameshi.evaluation.active_critic.prompts import Criterion, CriticPrompt, Example, Scale
from tameshi.evaluation.messages import Message

MARKERS = {"clarity": "clearly", "warmth": "kindly"}
CRITERIA = (
    Criterion("clarity", "how often the text says clearly", "never", "twice"),
    Criterion("warmth", "how often the text says kindly", "never", "twice"),
)
PROMPT = CriticPrompt("You judge short replies to customers.", CRITERIA, (), Scale(1, 5), "fine")
FILLER = (
    "the parcel",
    "your order",
    "our shop",
    "the invoice",
    "a refund",
    "the courier",
    "next week",
    "the warehouse",
)


def marked_texts(seed: int = 0, count: int = 40) -> tuple[list[Example], list[float]]:
    """Texts with planted words, two to a source, and the scores of people (1 to 5).

    Args:
        seed: of the texts.
        count: how many.
    """
    rng = np.random.default_rng(seed)
    examples, scores = [], []
    for index in range(count):
        clear, warm = (int(n) for n in rng.integers(0, 3, 2))
        filler = [str(w) for w in rng.choice(FILLER, rng.integers(2, 9))]  # so that length says nothing
        words = filler + ["clearly"] * clear + ["kindly"] * warm
        text = " ".join(str(w) for w in rng.permutation(words)) + "."
        source = f"question {index // 2}"
        examples.append(Example(str(index), source, text, source))
        scores.append(float(1 + clear + warm))
    return examples, scores


def marker_judge(*, malformed: float = 0.0) -> Callable[[Sequence[Message], random.Random], str]:
    """A rule that judges by counting.

    Args:
        malformed: share of answers that cannot be read.
    """

    def answer(messages: Sequence[Message], rng: random.Random) -> str:
        if rng.random() < malformed:
            return rng.choice(
                ("", "{", "<score>eleven</score>", "<score>99</score>", '{"criteria": 3}', "I would say good")
            )
        rules, asked = messages[0]["content"], messages[-1]["content"]
        if "Say what the task is" in rules:
            return json.dumps({"input": "a customer's question", "output": "a reply", "purpose": "to help"})
        if "Find the criteria" in rules:
            return json.dumps({"criteria": [vars(c) for c in CRITERIA], "comprehensive": True})
        if "Rewrite the instruction" in rules:
            return json.dumps({"task": "Count the planted words.", "criteria": [vars(c) for c in CRITERIA]})
        found = re.findall(r"<<text under judgement (\w+)>>\n(.*?)\n<<end of", asked, re.DOTALL)
        text = found[-1][1] if found else asked
        counts = {name: len(re.findall(rf"\b{word}\b", text)) for name, word in MARKERS.items()}
        if '"overall"' in rules:
            criteria = {
                n: min(5, 1 + 2 * counts.get(n, 0)) for n in re.findall(r'"([^"]+)": NUMBER', rules) if n != "overall"
            }
            return json.dumps({"reason": "counted", "criteria": criteria, "overall": min(5, 1 + sum(counts.values()))})
        only = re.search(r"Judge one thing only\. (\w+):", rules)
        score = 1 + 2 * counts.get(only[1], 0) if only else 1 + sum(counts.values())
        return f"<reason>The words were counted.</reason><score>{min(5, score)}</score>"

    return answer
