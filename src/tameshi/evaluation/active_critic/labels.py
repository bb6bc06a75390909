"""What a critic learns from: examples with scores of people, and what is refused because nothing can be learnt of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tameshi.evaluation.active_critic.agreement import Floats
from tameshi.evaluation.active_critic.prompts import Example

FEWEST_LABELS, RECOMMENDED = 5, 20


class NotEnoughLabels(ValueError):
    """Too few scored examples, or all of one source."""


class ConstantLabels(ValueError):
    """All scores are the same, so that nothing can agree with them."""


def as_examples(rows: Sequence[Example | Mapping[str, Any]], groups: Sequence[str] | None = None) -> list[Example]:
    """Examples out of rows with "output" and, if there are, "source", "id" and "group".

    Raises:
        ValueError: a row without output, or not as many groups as rows.
    """
    if groups is not None and len(groups) != len(rows):
        raise ValueError(f"{len(rows)} examples need as many groups, got {len(groups)}")
    made = []
    for place, row in enumerate(rows):
        if isinstance(row, Example):
            example = row
        elif isinstance(row, Mapping) and isinstance(row.get("output"), str):
            source = str(row.get("source", ""))
            example = Example(str(row.get("id", place)), source, row["output"], str(row.get("group", "")))
        else:
            raise ValueError(f'example {place} needs a text under "output", got {type(row).__name__}')
        group = str(groups[place]) if groups is not None else example.group or example.source or example.id
        made.append(replace(example, group=group))
    return made


def check_labels(examples: Sequence[Example], people: Floats) -> None:
    """Refuse what cannot teach.

    Args:
        examples: with their groups.
        people: (n,) scores.

    Raises:
        NotEnoughLabels: fewer than 5, or one source only.
        ConstantLabels: all the same.
        ValueError: not as many scores as examples, or one that is not finite.
    """
    if len(examples) != len(people):
        raise ValueError(f"{len(examples)} examples need as many scores, got {len(people)}")
    if not np.isfinite(people).all():
        raise ValueError("scores must be finite; leave out examples without one")
    if len(people) < FEWEST_LABELS:
        raise NotEnoughLabels(
            f"at least {FEWEST_LABELS} scored examples are needed, {RECOMMENDED} are better, got {len(people)}"
        )
    if len({e.group for e in examples}) < 2:
        raise NotEnoughLabels(
            "the examples come from one source; at least two are needed, so that none is on both sides"
        )
    if np.ptp(people) == 0:
        raise ConstantLabels(
            f"all scores are {people[0]:g}; at least {FEWEST_LABELS} examples that people scored differently are needed, "
            f"{RECOMMENDED} are better"
        )
