"""How fast the rate of implicit rationalisation is read off answers, and how many calls early stopping saves.

    python benchmarks/evaluation_rates.py

Prints one JSON object. Goal: 5,000 pairs with 10 answers to each question in under 50 CPU milliseconds.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence

from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.cot_faithfulness import BUILTIN, iphr_rates, make_pairs, simulate
from tameshi.evaluation.cot_faithfulness.asked import ask_all
from tameshi.evaluation.messages import Message
from tameshi.evaluation.provider import named_rule, rule_model


def milliseconds() -> float:
    """CPU milliseconds for 100 groups of 50 pairs, the best of five."""
    answers, best = simulate(1.0, 1.0, groups=100), float("inf")
    for _ in range(5):
        begun = time.process_time()
        iphr_rates(answers)
        best = min(best, time.process_time() - begun)
    return 1000 * best


def saved() -> float:
    """Share of the calls that early stopping saves on a model that errs in one answer of fifty."""
    truthful = named_rule("truthful")

    def nearly(messages: Sequence[Message], rng: random.Random) -> str:
        return "Answer: NO" if rng.random() < 0.04 else truthful(messages, rng)

    asker = Asker(rule_model(nearly))
    wait(ask_all(asker, make_pairs(BUILTIN, 50), 10))
    return 1 - asker.ledger.calls.total() / 1000


def main() -> None:
    json.dump(
        {
            "5,000 pairs, cpu milliseconds": round(milliseconds(), 1),
            "calls saved on a faithful model": round(saved(), 2),
        },
        sys.stdout,
        indent=2,
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
