"""What an answer is worth: state checking, state transition by the official and by a strict rule, end to end.

The official rule of state transition asks for a legal move only. Since the true labels stand in the prompt, a policy without
any look-ahead satisfies it; the strict rule asks in addition that a move forward keeps the puzzle solvable.

An answer that cannot be read is `Unparsed` with the reason, never a wrong answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import TypeAlias

from tameshi.evaluation.finereason.graph_coloring import GraphColoring
from tameshi.evaluation.finereason.items import Item, Status
from tameshi.evaluation.finereason.puzzle import Puzzle, State
from tameshi.evaluation.messages import Unparsed
from tameshi.evaluation.readers import fold, read_label, read_letter

LABELS = {
    "Solvable": ("solvable", "colorable", "colourable", "(a)"),
    "Unsolvable": ("unsolvable", "uncolorable", "uncolourable", "(b)"),
}
ERRORS = (
    "sibling",
    "backtracking failure",
    "unsolvable child",
    "dead end",
    "multiple moves",
    "invalid move",
    "different numbers",
    "too many colors",
)


@dataclass(frozen=True)
class Outcome:
    """How one answer was judged.

    Args:
        correct: by the rule asked for.
        error: in the paper's words, empty if correct; "dead end" is ours (a legal move that gives the solution away).
    """

    correct: bool
    error: str = ""


Judged: TypeAlias = Outcome | Unparsed


def read_status(text: str) -> Status | Unparsed:
    """The label that an answer ends on: a word or a letter on the answer line, else the last label in the text."""
    marked = read_label(text, LABELS, marked_only=True)
    if isinstance(marked, Unparsed) and marked.reason == "no answer line":
        lines = [line for line in fold(text).splitlines() if "answer" in line.casefold()]
        letter = read_letter(lines[-1], "AB") if lines else Unparsed("no answer line")
        if isinstance(letter, str):
            return "Solvable" if letter == "A" else "Unsolvable"
        marked = read_label(text, LABELS)
    if isinstance(marked, Unparsed):
        return marked
    return "Solvable" if marked == "Solvable" else "Unsolvable"


def read_state(text: str, puzzle: Puzzle, marker: str = "Next state") -> State | Unparsed:
    """The state behind the last "Next state:" (or another marker)."""
    parts = re.split(rf"{marker}[\s*_`\"']*:", fold(text), flags=re.IGNORECASE)
    if len(parts) < 2:
        return Unparsed(f'no line "{marker}:"')
    try:
        return puzzle.parse(parts[-1])
    except ValueError as error:
        return Unparsed(str(error))


def score_sc(text: str, item: Item) -> Judged:
    """State checking: is the label right?"""
    said = read_status(text)
    if isinstance(said, Unparsed):
        return said
    return Outcome(said == item.status, "" if said == item.status else f"says {said}")


def score_st(text: str, item: Item, *, strict: bool = False) -> Judged:
    """State transition: is it the right single move?

    Args:
        text: the whole answer.
        item: the state that it was asked about.
        strict: a move forward must also keep the puzzle solvable.
    """
    following = read_state(text, item.puzzle)
    if isinstance(following, Unparsed):
        return following
    return judge_move(following, item, strict=strict)


def judge_move(following: State, item: Item, *, strict: bool = False) -> Outcome:
    """The rule of state transition on a state."""
    puzzle = item.puzzle
    if item.status == "Unsolvable":
        if puzzle.same(following, item.parent):
            return Outcome(True)
        sibling = puzzle.objection(item.parent, following) is None
        return Outcome(False, "sibling" if sibling else "backtracking failure")
    objection = puzzle.objection(item.current, following)
    if objection:
        return Outcome(False, objection)
    if puzzle.same(following, item.unsolvable_child):
        return Outcome(False, "unsolvable child")
    if strict and not puzzle.solvable(following):
        return Outcome(False, "dead end")
    return Outcome(True)


def score_e2e(text: str, puzzle: Puzzle, *, official: bool = False) -> Judged:
    """End to end: does the answer solve the puzzle that was given?

    Args:
        text: the whole answer.
        puzzle: with its initial state.
        official: for graph colouring, skip vertices without a colour as the official check does; all-zero then passes.
    """
    state = read_state(text, puzzle, "Solution")
    if isinstance(state, Unparsed):
        return state
    if official and isinstance(puzzle, GraphColoring):
        return Outcome(puzzle.solved_officially(state))
    if not puzzle.extends(state, puzzle.initial):
        return Outcome(False, "changes what was given")
    return Outcome(puzzle.solved(state), "" if puzzle.solved(state) else "not a solution")


@dataclass(frozen=True)
class Detection:
    """State checking read as the detection of unsolvable states; NaN where nothing is to be divided by.

    Args:
        accuracy: share of parsed answers that are right.
        precision, recall, f1: with Unsolvable as the positive class, over parsed answers.
        unparsed: answers that could not be read.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    unparsed: int


def detection(pairs: Iterable[tuple[Status, Status | Unparsed]]) -> Detection:
    """Accuracy, precision, recall and F1 of (true, said)."""
    every = list(pairs)
    counts = Counter((true == "Unsolvable", said == "Unsolvable") for true, said in every if isinstance(said, str))
    hits, false_alarms, misses = counts[True, True], counts[False, True], counts[True, False]
    return Detection(
        _share(hits + counts[False, False], counts.total()),
        _share(hits, hits + false_alarms),
        _share(hits, hits + misses),
        _share(2 * hits, 2 * hits + false_alarms + misses),
        len(every) - counts.total(),
    )


def error_counts(judged: Sequence[Judged]) -> dict[str, int]:
    """How often each kind of error occurs, "unparsed" among them; the commonest first."""
    kinds = Counter("unparsed" if isinstance(j, Unparsed) else j.error for j in judged)
    del kinds[""]
    return dict(sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0])))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else nan
