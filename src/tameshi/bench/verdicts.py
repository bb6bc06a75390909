"""A verdict: what a rule found in the rows of a run, with everything a reader needs to doubt it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

Outcome = Literal["holds", "fails", "inconclusive", "blind", "out of reach here"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Verdict:
    """What became of one claim, or of one part of it.

    Args:
        claim: id of the claim in the catalogue.
        outcome: one of the five words.
        figure: what the reader looks at: a difference, ratio, correlation, share or mean; None where there is none.
        interval: of that figure, 95 %; an end may be infinite.
        n: how many independent units stand behind it.
        unit: what they are: "items", "groups" or "seeds".
        reads: what the figure is, in {"en", "ja"}.
        why: one sentence for the outcome, with its numbers.
        power: what would have been missed with this many units, or how many would settle it.
        p: two-sided p of the contrast that decides.
        p_holm: the same after Holm over the claims of the run; None for a part.
        parts: one per condition in `each`, per baseline, per rule of an `AllOf`.
        controls: control -> the outcome it would have had in the method's place, or "not measured".
    """

    claim: str
    outcome: Outcome
    figure: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    unit: str = "items"
    reads: Mapping[str, str] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    power: Mapping[str, str] = field(default_factory=dict)
    p: float | None = None
    p_holm: float | None = None
    parts: tuple[Verdict, ...] = ()
    controls: Mapping[str, str] = field(default_factory=dict)


def to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as what `json` can write; infinities become words, since JSON has none."""
    made: dict[str, Any] = {f.name: getattr(verdict, f.name) for f in fields(verdict)}
    made["figure"] = _number_out(verdict.figure)
    made["interval"] = None if verdict.interval is None else [_number_out(end) for end in verdict.interval]
    made["parts"] = [to_json(part) for part in verdict.parts]
    for name in ("reads", "why", "power", "controls"):
        made[name] = dict(made[name])
    return made


def from_json(made: Mapping[str, Any]) -> Verdict:
    """Inverse of `to_json`.

    Raises:
        ValueError: the outcome is none of the five words.
    """
    if made["outcome"] not in OUTCOMES:
        raise ValueError(f"an outcome must be one of {', '.join(OUTCOMES)}; got {made['outcome']!r}")
    interval = made["interval"]
    return Verdict(
        **{
            **made,
            "figure": _number_in(made["figure"]),
            "interval": None if interval is None else (_number_in(interval[0]), _number_in(interval[1])),
            "parts": tuple(from_json(part) for part in made["parts"]),
        }
    )


def _number_out(number: float | None) -> float | str | None:
    return number if number is None or math.isfinite(number) else repr(number)


def _number_in(number: float | str | None) -> float | None:
    return None if number is None else float(number)
