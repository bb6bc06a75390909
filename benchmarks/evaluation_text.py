"""How fast words are associated, answers are scored, and a judge is asked, each as a ratio to the plain way in one
process.

    python benchmarks/evaluation_text.py

Prints one JSON object. Goals: the exact permutation test of WEAT with 8 terms a group in under 20 CPU milliseconds and
at least 50 times faster (once the splits are made) than a loop over them, with the same p; 1,800 shop answers scored in
under 1 CPU second; 800 questions to a judge that takes 0.2 seconds in under 10 seconds at 20 connections; our own cost
a call under 5 milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from tameshi.evaluation.active_critic.marked import CRITERIA, marked_texts
from tameshi.evaluation.active_critic.prompts import CriticPrompt, Scale
from tameshi.evaluation.active_critic.scoring import judge_all
from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.ecom_qa import Shopper, audit, make_shop, score_items
from tameshi.evaluation.implicit_bias import association
from tameshi.evaluation.implicit_bias.measured import Floats
from tameshi.evaluation.messages import Message


def cpu_milliseconds(work: Callable[[], object], times: int = 5) -> float:
    """The best of a few runs."""
    best = float("inf")
    for _ in range(times):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return 1000 * best


def by_loop(x: Floats, y: Floats) -> float:
    """p of the permutation test as the usual code counts it: an index array and a sum for one split after the other."""
    both = np.concatenate([x, y])
    total, observed, extreme, count = both.sum(), x.sum() - y.sum(), 0, 0
    for chosen in combinations(range(len(both)), len(x)):
        statistic = 2 * both[np.array(chosen)].sum() - total
        extreme += statistic >= observed - 1e-12 * abs(total)
        count += 1
    return extreme / count


def weat() -> dict[str, float]:
    """Cold (the splits are made anew) and warm, on 300-dimensional vectors, beside the loop over associations."""
    rng = np.random.default_rng(0)
    x, y, a, b = (rng.normal(size=(8, 300)) for _ in range(4))

    def cold() -> object:
        association._splits.cache_clear()
        return association.weat_vectors(x, y, a, b)

    def exact() -> object:
        association._splits.cache_clear()
        return association.permutation_test(of_x, of_y)

    of_x, of_y = association.associations(x, a, b), association.associations(y, a, b)
    ours, loop = cpu_milliseconds(exact), cpu_milliseconds(lambda: by_loop(of_x, of_y), times=2)
    warm = cpu_milliseconds(lambda: association.permutation_test(of_x, of_y))
    same = association.permutation_test(of_x, of_y).p - by_loop(of_x, of_y)
    return {
        "exact test at n = 8, cold, cpu milliseconds": ours,
        "the same, warm": warm,
        "times faster than a loop, cold": loop / ours,
        "times faster than a loop, warm": loop / warm,
        "difference of p": same,
        "whole WEAT with its bootstrap, cold, cpu milliseconds": cpu_milliseconds(cold),
    }


def scoring() -> dict[str, float]:
    """1,800 answers of the generated shop."""
    items = make_shop(0, per_task=180).items
    shopper = Shopper(make_shop(0, per_task=180), 0.5)
    answers = [shopper.answer(i) for i in items]
    return {
        "answers": float(len(items)),
        "scored, cpu milliseconds": cpu_milliseconds(lambda: score_items(items, answers)),
        "audited, cpu milliseconds": cpu_milliseconds(lambda: audit(items)),
        "calls of a judge saved by rules first": 1 - sum(i.kind == "free" for i in items) / len(items),
    }


def judging() -> dict[str, float]:
    """800 questions to a judge of 0.2 seconds, and the cost of our own code with one that answers at once."""
    examples, _ = marked_texts(0, 160)
    prompt = CriticPrompt("", (*CRITERIA, *CRITERIA[:1] * 2), (), Scale(1, 5), "fine")  # five calls a text

    def judge(seconds: float) -> Asker:
        async def answer(messages: Sequence[Message]) -> str:
            await asyncio.sleep(seconds)
            return "<reason>so</reason><score>3</score>"

        return Asker(answer, connections=20)

    slow, begun = judge(0.2), time.perf_counter()
    wait(judge_all(slow, prompt, examples))
    passed = time.perf_counter() - begun
    quick = judge(0.0)
    spent = cpu_milliseconds(lambda: wait(judge_all(quick, prompt, examples)), times=1)
    return {
        "calls": float(slow.ledger.calls.total()),
        "seconds at 20 connections": passed,
        "times faster than one after the other": 0.2 * slow.ledger.calls.total() / passed,
        "own cpu milliseconds a call": spent / quick.ledger.calls.total(),
    }


def main() -> None:
    json.dump({"weat": weat(), "ecom-qa": scoring(), "active critic": judging()}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
