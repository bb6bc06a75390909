"""Rules: how a claim is read off rows, written before the run.

A rule is data. It says which method is held against which baseline, on which metric, by how much, under which conditions, and
which controls must stay down. `tameshi.bench` turns it into one number per item or seed (the contrast), an interval, and a
verdict: *holds* if the whole interval lies on the claim's side, *fails* if it lies on the other, *inconclusive* between, *blind*
if a control would have held as well, *out of reach here* if this subject cannot show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tameshi.nouns.rows import Scalar

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Difference:
    """Better by at least this much, in the metric's unit."""

    amount: float = 0.0


@dataclass(frozen=True)
class Ratio:
    """At most (lower is better) or at least (higher is better) this multiple of the baseline."""

    factor: float


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What all rules share.

    Args:
        claim: id of the claim in the catalogue.
        check: which check's rows are read; None where the metric occurs in only one.
        where: only rows taken under these conditions. Rows of the method must have them; rows of what it is held against must
            not contradict them (a full cache has no cap, and is compared at every cap).
        each: the rule must hold at every value of these conditions, each judged by itself.
        needed: of those values, how many suffice; None for all.
        control: methods put in the place of the method; if the rule holds for one of them, the measure is blind. One that was
            not measured keeps the claim from holding.
        unit: what is independent: "item" (pair by item and seed; the spread between seeds is added where it shows) or "seed"
            (one mean per seed). Conditions that the rule does not name are averaged within the unit.
    """

    claim: str = field(kw_only=False)
    check: str | None = None
    where: Mapping[str, Scalar] = field(default_factory=dict)
    each: tuple[str, ...] = ()
    needed: int | None = None
    control: tuple[str, ...] = ()
    unit: Literal["item", "seed"] = "item"


@dataclass(frozen=True)
class Beats(Rule):
    """The method is better than every baseline, by a difference or a ratio.

    Args:
        method, baseline: as in the rows; several baselines must all be beaten.
        metric: what is compared.
        better: which direction is good.
        by: by how much.
        gap_to: a method whose value is taken off first, item by item: the comparison is then of the gaps to it.
    """

    method: str
    baseline: str | tuple[str, ...]
    metric: str
    better: Better
    by: Difference | Ratio = Difference(0.0)
    gap_to: str | None = None


@dataclass(frozen=True)
class Reaches(Rule):
    """The method reaches a fixed value, or a share of another method's value.

    Args:
        target: a number, or the name of a method.
        share: of the target; 0.9 with better="higher" means at least nine tenths of it, 1.1 with better="lower" at most
            eleven tenths.
    """

    method: str
    target: float | str
    metric: str
    better: Better
    share: float = 1.0


@dataclass(frozen=True)
class Within(Rule):
    """The method is at most `margin` worse than the reference (non-inferiority), in the metric's unit."""

    method: str
    reference: str
    metric: str
    better: Better
    margin: float


@dataclass(frozen=True)
class Orders(Rule):
    """The metric rises (or falls) along a numeric condition.

    Read as the rank correlation of condition and metric within each item or seed: it must be above `at_least` on average.
    """

    method: str
    metric: str
    along: str
    direction: Literal["rises", "falls"]
    at_least: float = 0.0


@dataclass(frozen=True)
class Correlates(Rule):
    """Two metrics of the method agree over items: their correlation is at least `at_least`.

    Args:
        coefficient: "spearman", agreement in rank, or "pearson", agreement up to scale and shift.
    """

    method: str
    metric: str
    other: str
    at_least: float
    coefficient: Literal["spearman", "pearson"] = "spearman"


@dataclass(frozen=True)
class AllOf(Rule):
    """A claim of several parts: holds if all hold, fails if one fails."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class OutOfReach(Rule):
    """What the embedded subject cannot show, and the option that brings it into reach.

    Args:
        reason: one sentence, {"en": ..., "ja": ...}.
        option: the command-line option that would bring it into reach.
        then: the rule that judges once rows for it exist.
    """

    reason: Mapping[str, str]
    option: str
    then: Rule | None = None
