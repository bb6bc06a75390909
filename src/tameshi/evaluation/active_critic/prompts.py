"""What a critic has learnt, as a value: the task, the criteria, the demonstrations and the scale. It saves as JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from tameshi.doors import files
from tameshi.evaluation.judge import fence

VERSION = 1
Mode = Literal["coarse", "fine", "single_call"]
# names that restate the score: with them the fine mode would be circular
CIRCULAR = (
    "overall",
    "overall quality",
    "quality",
    "general quality",
    "overall score",
    "score",
    "rating",
    "goodness",
    "overall impression",
)


@dataclass(frozen=True)
class Example:
    """A text to judge.

    Args:
        id: its own.
        source: what it was made from; may be empty.
        output: the text.
        group: which source it belongs to; examples of a group never stand on both sides of a split.
    """

    id: str
    source: str
    output: str
    group: str = ""


@dataclass(frozen=True)
class Criterion:
    """One thing that the scores reward."""

    name: str
    definition: str
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Scale:
    """The ends of the scale and its least step."""

    low: float
    high: float
    step: float = 1.0

    @classmethod
    def of(cls, scores: Sequence[float], ends: tuple[float, float] | None = None) -> Scale:
        """The scale that scores suggest: their ends, in whole steps if they are whole.

        Args:
            scores: of people.
            ends: of the scale where they are known; scores that are not whole then have a step of a quarter of it.

        Raises:
            ValueError: a score outside the ends; or no ends, and more than ten different values that are not whole.
        """
        found = sorted(set(scores))
        whole = all(float(s).is_integer() for s in found)
        if ends is not None:
            low, high = ends
            if not low <= found[0] <= found[-1] <= high:
                raise ValueError(
                    f"the scale {low:g} to {high:g} does not hold the scores {found[0]:g} to {found[-1]:g}"
                )
            return cls(float(low), float(high), 1.0 if whole else (high - low) / 4)
        if not whole and len(found) > 10:
            raise ValueError(
                f"the scores have {len(found)} different values between {found[0]:g} and {found[-1]:g}; "
                "give its ends as the scale: (low, high)"
            )
        step = 1.0 if whole else min(b - a for a, b in pairwise(found))
        return cls(float(found[0]), float(found[-1]), step)


@dataclass(frozen=True)
class Demonstration:
    """A scored example shown to the critic."""

    example: Example
    score: float
    reason: str = ""


@dataclass(frozen=True)
class CriticPrompt:
    """A whole prompt.

    Args:
        task: what is judged, in a few sentences; empty for none.
        criteria: what is looked at; empty for none.
        demonstrations: shown in an order drawn anew for each text.
        scale: of the scores.
        mode: "coarse" (one score), "fine" (a call for each criterion, then one for all), "single_call" (all in one
            answer).
    """

    task: str
    criteria: tuple[Criterion, ...]
    demonstrations: tuple[Demonstration, ...]
    scale: Scale
    mode: Mode = "coarse"

    @property
    def calls(self) -> int:
        """Calls to judge one text, retries aside."""
        return len(self.criteria) + 1 if self.mode == "fine" and self.criteria else 1

    def to_json(self) -> str:
        """As JSON, always the same bytes for the same prompt."""
        held = {"version": VERSION, "parser": "<score>", **asdict(self)}
        return json.dumps(held, ensure_ascii=False, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CriticPrompt:
        """Inverse of `to_json`.

        Raises:
            ValueError: not a prompt of this version.
        """
        try:
            held: dict[str, Any] = json.loads(text)
            if held["version"] != VERSION:
                raise ValueError(f"this critic was saved in version {held['version']}, and version {VERSION} is read")
            return cls(
                task=str(held["task"]),
                criteria=tuple(Criterion(**c) for c in held["criteria"]),
                demonstrations=tuple(
                    Demonstration(Example(**d["example"]), float(d["score"]), str(d["reason"]))
                    for d in held["demonstrations"]
                ),
                scale=Scale(**held["scale"]),
                mode=held["mode"],
            )
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is not a saved critic: {error}") from error

    def save(self, path: str | Path) -> Path:
        """Write as a JSON file."""
        return files.write(path, self.to_json())

    def rubric(self, example: Example, *, criterion: Criterion | None = None, seed: int = 0, turn: int = 0) -> str:
        """The rules for judging one text; demonstrations stand in an order of this call's own.

        Args:
            example: the text; nothing of it is in the rubric.
            criterion: the only thing to judge, or None for the whole.
            seed, turn: of the order, beside text and criterion; a turn is one of several samples.
        """
        parts = [self.task or "You judge the quality of a text."]
        if criterion is not None:
            parts.append(f"Judge one thing only. {_told(criterion)}")
        elif self.criteria:
            parts.append("What counts:\n" + "\n".join(f"- {_told(c)}" for c in self.criteria))
        shown = list(self.demonstrations)
        random.Random(f"{seed} {turn} {example.id} {criterion.name if criterion else ''}").shuffle(shown)
        scored = (
            "as scored by people" if criterion is None else "as scored by people for the whole, not for this one thing"
        )
        for number, d in enumerate(shown, 1):
            told = f"\n<reason>{d.reason}</reason>" if d.reason else ""
            source = fence(d.example.source, f"source of example {number}") + "\n" if d.example.source else ""
            parts.append(
                f"Example {number}, {scored}:\n{source}{fence(d.example.output, f'example {number}')}"
                f"{told}\n<score>{d.score:g}</score>"
            )
        return "\n\n".join(parts)


def _told(c: Criterion) -> str:
    ends = f" Low: {c.low}." * bool(c.low) + f" High: {c.high}." * bool(c.high)
    return f"{c.name}: {c.definition}{ends}"
