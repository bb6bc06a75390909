"""Problems whose final answer is known exactly: ours, or a file of the user's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tameshi.evaluation.messages import Message, Unparsed, user
from tameshi.evaluation.readers import fold


class ProblemError(ValueError):
    """A problem file that cannot be used, and why."""


@dataclass(frozen=True)
class Problem:
    """A question with one right answer.

    Args:
        question: as it is asked.
        answer: the right one; compared as a number where it is one, else as text.
    """

    question: str
    answer: str


def make_problems(count: int, *, seed: int = 0) -> list[Problem]:
    """Word problems of five steps in whole numbers."""
    rng = np.random.default_rng(seed)
    problems = []
    for _ in range(count):
        crates, each, spoiled, sold, price = (
            int(n)
            for n in (
                rng.integers(12, 40),
                rng.integers(15, 60),
                rng.integers(3, 90),
                rng.integers(3, 9),
                rng.integers(2, 9),
            )
        )
        left = crates * each - spoiled
        bags, rest = divmod(left, sold)
        total = bags * price + rest
        problems.append(
            Problem(
                f"A mill receives {crates} crates with {each} plums each. {spoiled} plums are spoiled and thrown away. The others "
                f"are packed into bags of {sold}. Each full bag is sold for {price} coins, and each plum that is left over for "
                "1 coin. How many coins does the mill take?",
                str(total),
            )
        )
    return problems


def read_problems(path: str | Path) -> list[Problem]:
    """Problems from a file of JSON lines with the fields question and answer.

    Raises:
        ProblemError: naming the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"the problem file {path} cannot be read: {error}") from error
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            held = json.loads(line)
            problems.append(Problem(str(held["question"]), str(held["answer"])))
        except (json.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
            raise ProblemError(f"line {number} of {path} needs a JSON object with question and answer") from error
    if not problems:
        raise ProblemError(f"{path} holds no problems")
    return problems


def problems_of(names: str, count: int, *, seed: int = 0) -> list[Problem]:
    """At most so many problems: made for "builtin", or read from the file named."""
    return make_problems(count, seed=seed) if names == "builtin" else read_problems(names)[:count]


def prompt(problem: Problem) -> list[Message]:
    """The conversation that asks it."""
    how = "Reason step by step, each step in a paragraph of its own. End with one last line: Answer: followed by the result."
    return [user(f"{problem.question}\n\n{how}")]


def is_right(problem: Problem, text: str) -> bool | Unparsed:
    """Whether the last answer line gives the right answer; without one, unparsed."""
    lines: list[str] = re.findall(r"answer\W*?[:=]\s*(.+)", fold(text), re.IGNORECASE)
    if not lines:
        return Unparsed("no answer line")
    given = lines[-1].strip().strip("*_`$. ")
    wanted = problem.answer.strip()
    numbers: list[str] = re.findall(r"-?\d[\d,]*(?:\.\d+)?", given)
    if re.fullmatch(r"-?\d+(?:\.\d+)?", wanted):
        return bool(numbers) and float(numbers[0].replace(",", "")) == float(wanted)
    return given.casefold() == wanted.casefold()
