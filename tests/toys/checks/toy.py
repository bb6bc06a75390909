"""A check whose verdicts are known, quick or slow, that can also be told to fail in every way a worker can."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from tameshi.nouns import Beats, Measurement, Rule, apply, check, figure, measure


@check("toy", seeds=2)
def adding(
    *,
    scales: tuple[int, ...] = (1, 2),
    items: int = 20,
    sleep: float = 0.0,
    trouble: str = "",
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Adds a constant to random numbers.

    Args:
        scales: of the numbers.
        items: how many of them.
        sleep: seconds that each measurement takes.
        trouble: what goes wrong in one measurement: "raise", "kill", "hang", or "kill once PATH"; "threads" counts torch's.
        limit: at most so many items.
    """
    count = items if limit is None else min(items, limit)
    for scale in scales:
        for name, added in {"one": 1.0, "nothing": 0.0, "baseline": 0.0}.items():
            unlucky = trouble if (name, scale, seed) == ("nothing", scales[-1], 0) else ""
            yield measure(name, partial(numbers, scale, added, count, seed, sleep, unlucky), scale=scale)


def numbers(scale: int, added: float, items: int, seed: int, sleep: float, trouble: str) -> dict[str, list[float]]:
    time.sleep(sleep)
    if trouble == "raise":
        raise RuntimeError("the toy was told to fail")
    if trouble == "hang":
        time.sleep(3600)
    if trouble == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble.startswith("kill once "):
        mark = Path(trouble.removeprefix("kill once "))
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "threads":
        import torch

        return {"value": [float(torch.get_num_threads())]}
    drawn = np.random.default_rng([seed, scale]).standard_normal(items)
    return {"value": [float(v) + added for v in drawn]}


RULES: list[Rule] = [
    Beats("C1", "one", "baseline", metric="value", better="higher", each=("scale",), control=("nothing",)),
    Beats("C2", "nothing", "baseline", metric="value", better="higher"),
]


@figure("toy", en="Values by method", ja="手法ごとの値")
def values_by_method(rows):
    from matplotlib.figure import Figure

    made = Figure(figsize=(4, 3))
    axes = made.subplots()
    for place, method in enumerate(rows.methods):
        numbers_of = rows.where(method=method).numbers("value")
        axes.plot([place] * len(numbers_of), numbers_of, "o", label=method)
    axes.legend()
    return made


@apply("toy")
def add(numbers: str, *, amount: float = 1.0, output: Path | None = None) -> dict[str, float]:
    """Add a constant to numbers.

    Args:
        numbers: separated by commas.
        amount: what is added.
        output: a file for the sums.
    """
    from tameshi.doors.files import write

    sums = {text: float(text) + amount for text in numbers.split(",")}
    if output is not None:
        write(output, "\n".join(map(str, sums.values())))
    return sums
