"""Null policies: answers that need no model. A benchmark prints them beside the model; a score they reach says nothing.

    scores = run_policies(items, {"majority": majority(labels), "copy the query": lambda item: item.query}, score)

A policy sees the item and answers it; what it scores is computed by the benchmark's own scorer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from inspect_ai.scorer import Scorer

I = TypeVar("I")
A = TypeVar("A")  # an answer

PREFIX = "null: "


def run_policies(
    items: Sequence[I], policies: Mapping[str, Callable[[I], A]], score: Callable[[I, A], float]
) -> dict[str, tuple[float, ...]]:
    """What every policy scores on every item: policy -> one score per item, in the order of the items."""
    return {name: tuple(float(score(item, policy(item))) for item in items) for name, policy in policies.items()}


def majority(labels: Iterable[A]) -> Callable[[object], A]:
    """The policy that always gives the commonest label; of equals the one that came first.

    Raises:
        ValueError: there are no labels.
    """
    counts = Counter(labels)
    if not counts:
        raise ValueError("the majority of no labels is not defined")
    (label, _), *_ = counts.most_common(1)
    return lambda item: label


def majority_within(groups: Iterable[tuple[object, A]], group_of: Callable[[I], object]) -> Callable[[I], A]:
    """The policy that gives the commonest label of the item's group; `groups` holds (group, label) of every item."""
    counted: dict[object, list[A]] = {}
    for group, label in groups:
        counted.setdefault(group, []).append(label)
    policies = {group: majority(labels) for group, labels in counted.items()}
    return lambda item: policies[group_of(item)](item)


def beside(scores: Mapping[str, Sequence[float]], index: int) -> dict[str, float]:
    """What the policies score on one item, for the `metadata` of its Inspect sample; `null_policies` reads it there."""
    return {f"{PREFIX}{name}": float(values[index]) for name, values in scores.items()}


def null_policies() -> Scorer:
    """Inspect scorer, beside the task's own: the mean of every null policy on the same samples.

    It reads what `beside` wrote and never the answer, so that it stands there also where an endpoint fell silent.
    """
    from tameshi.evaluation._null_scorer import null_policies as build

    return build()
