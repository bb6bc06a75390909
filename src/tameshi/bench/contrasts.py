"""A rule becomes a contrast: one number per unit that is above zero where the claim is true."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tameshi.bench import wording
from tameshi.bench.pairing import Pairs, Role, agrees, pair, stack
from tameshi.bench.statistics import (
    Evidence,
    Means,
    Table,
    coefficient,
    correlated,
    detectable,
    half_missed,
    paired_rates,
    rate,
    required,
    trend,
    trends,
    typical,
)
from tameshi.nouns.rows import Row, Rows
from tameshi.nouns.rules import Beats, Correlates, Difference, Orders, Reaches, Within

Leaf = Beats | Reaches | Within | Orders | Correlates
Noun = Literal["difference", "ratio", "share", "mean", "correlation"]


@dataclass(frozen=True)
class Contrast:
    """What a rule finds in the rows, before any word is said about it.

    Args:
        pairs: the units behind it, and what was left out.
        evidence: on the contrast.
        figure: what the reader looks at; NaN where there is none.
        interval: of the figure.
        bar: where the claim begins, as a value of the figure.
        side: +1 if the claim wants the figure above the bar, -1 below.
        scale: how far the figure moves per unit of the contrast.
        noun: what the figure is.
        points: whether the values are yes and no, so that differences are shown in percentage points.
        reads: what the figure is, in words.
        levels: over how many values of a condition an order was read; 0 where none was.
        fisher: whether the standard error is on Fisher's scale, as for a correlation over items.
    """

    pairs: Pairs
    evidence: Evidence
    figure: float
    interval: tuple[float, float] | None
    bar: float
    side: float
    scale: float
    noun: Noun
    points: bool
    reads: Mapping[str, str]
    levels: int = 0
    fisher: bool = False

    def at(self, effect: float) -> float:
        """The figure where the true contrast is `effect`, in the unit of the standard error."""
        if self.fisher:
            return math.tanh(_fisher(self.bar) + effect)
        return self.bar + self.side * self.scale * effect

    @property
    def half_missed(self) -> float | None:
        """The figure at which the claim is true and half of such runs would miss it; None where that cannot be said."""
        evidence = self.evidence
        if not (evidence.error > 0 and math.isfinite(self.scale)):
            return None
        return self.at(half_missed(evidence))

    def units_for(self, figure: float) -> int | None:
        """How many units settle the claim four times out of five if the true figure is this one; None if a million do not."""
        evidence = self.evidence
        distance = abs(figure - self.bar) / self.scale
        if self.fisher:
            distance = abs(_fisher(figure) - _fisher(self.bar))
        error, extra = typical(evidence.error, evidence.freedom), 0.0
        if evidence.half is not None:  # a tail or an exact test asks for more than Student, less so with more units
            extra = (evidence.half - detectable(error, evidence.freedom)) * evidence.units
        return required(distance, error * math.sqrt(evidence.units), extra=extra)


def contrast(rule: Leaf, rows: Iterable[Row], *, seed: int = 0) -> Contrast:
    """Read one rule off the rows of a run. `each`, `needed` and `control` are the caller's affair.

    Raises:
        ValueError: the rule names no check, and its metric occurs in several.
    """
    held = [row for row in rows if rule.check is None or row.check == rule.check]
    checks = sorted({row.check for row in held if row.method == rule.method and rule.metric in row.values})
    if len(checks) > 1:
        raise ValueError(
            f"{rule.metric} is measured by {' and '.join(checks)}; the rule of claim {rule.claim} must name one"
        )
    match rule:
        case Beats():
            return _beats(rule, held, seed)
        case Reaches():
            return _reaches(rule, held, seed)
        case Within():
            sign = 1.0 if rule.better == "higher" else -1.0
            pairs = _units(rule, held, Role(rule.method, rule.metric), Role(rule.reference, rule.metric))
            reads = wording.difference(rule.metric, rule.method, rule.reference)
            return _difference(pairs, sign, -sign * rule.margin, reads, seed)
        case Orders():
            return _orders(rule, held, seed)
        case Correlates():
            return _correlates(rule, held, seed)


def _beats(rule: Beats, rows: list[Row], seed: int) -> Contrast:
    if not isinstance(rule.baseline, str):
        raise TypeError("several baselines are judged one by one")
    sign = 1.0 if rule.better == "higher" else -1.0
    roles = [Role(rule.method, rule.metric), Role(rule.baseline, rule.metric)]
    if isinstance(rule.by, Difference):  # what the gap is taken to cancels
        reads = wording.difference(rule.metric, rule.method, rule.baseline)
        return _difference(_units(rule, rows, *roles), sign, sign * rule.by.amount, reads, seed)
    if rule.gap_to is not None:
        roles.append(Role(rule.gap_to, rule.metric))
    pairs = _units(rule, rows, *roles)
    if rule.gap_to is not None:
        pairs = replace(pairs, columns=pairs.columns[:2] - pairs.columns[2])
    reads = wording.ratio(rule.metric, rule.method, rule.baseline, rule.gap_to)
    return _ratio(pairs, sign, rule.by.factor, "ratio", reads, seed)


def _reaches(rule: Reaches, rows: list[Row], seed: int) -> Contrast:
    sign = 1.0 if rule.better == "higher" else -1.0
    if isinstance(rule.target, str):
        pairs = _units(rule, rows, Role(rule.method, rule.metric), Role(rule.target, rule.metric))
        return _ratio(pairs, sign, rule.share, "share", wording.share(rule.metric, rule.method, rule.target), seed)
    pairs = _units(rule, rows, Role(rule.method, rule.metric))
    bar = rule.share * rule.target
    if _yes_or_no(pairs) and _plain(pairs):
        yes = int((pairs.columns[0] == (1.0 if sign > 0 else 0.0)).sum())
        evidence = rate(yes, len(pairs), bar if sign > 0 else 1 - bar)
    else:
        evidence = _means(pairs, seed).contrast([sign], -sign * bar)
    return _linear(pairs, evidence, bar, sign, "mean", wording.mean(rule.metric, rule.method))


def _difference(pairs: Pairs, sign: float, bar: float, reads: Mapping[str, str], seed: int) -> Contrast:
    if _yes_or_no(pairs) and _plain(pairs):
        first, second = pairs.columns if sign > 0 else pairs.columns[::-1]
        evidence = paired_rates(Table.of(first, second), sign * bar)
    else:
        evidence = _means(pairs, seed).contrast([sign, -sign], -sign * bar)
    return _linear(pairs, evidence, bar, sign, "difference", reads)


def _linear(
    pairs: Pairs, evidence: Evidence, bar: float, side: float, noun: Noun, reads: Mapping[str, str]
) -> Contrast:
    """A contrast that is the figure itself, turned to the claim's side and counted from the bar."""
    figure = bar + side * evidence.estimate
    ends = sorted((bar + side * evidence.low, bar + side * evidence.high))
    points = _yes_or_no(pairs) and noun in ("difference", "mean")
    return Contrast(pairs, evidence, figure, (ends[0], ends[1]), bar, side, 1.0, noun, points, reads)


def _ratio(pairs: Pairs, sign: float, bar: float, noun: Noun, reads: Mapping[str, str], seed: int) -> Contrast:
    means = _means(pairs, seed)
    evidence = means.contrast([sign, -sign * bar])
    figure, interval = means.ratio([1.0, 0.0], [0.0, 1.0])
    divisor = float(means.means[1]) if len(pairs) else math.nan
    side = math.copysign(sign, sign * divisor)  # below zero, to be higher is to be a smaller multiple
    scale = 1 / abs(divisor) if divisor else math.inf
    if evidence.error > 0 and figure > 0:
        evidence = replace(evidence, half=_missed_multiple(means, sign, bar, figure))
    return Contrast(pairs, evidence, figure, interval, bar, side, scale, noun, False, reads)


def _missed_multiple(means: Means, sign: float, bar: float, seen: float) -> float:
    """The contrast half of such runs would miss; a method whose values are a smaller multiple has smaller noise as well."""
    divisor = abs(float(means.means[1]))
    multiple, missed = seen, 0.0
    for _ in range(4):
        missed = half_missed(means.contrast([sign * multiple / seen, -sign * bar]))
        multiple = max(bar + math.copysign(sign, sign * float(means.means[1])) * missed / divisor, 0.0)
    return missed


def _orders(rule: Orders, rows: list[Row], seed: int) -> Contrast:
    role = Role(rule.method, rule.metric)
    mine = [row for row in rows if row.method == rule.method and rule.metric in row.values and agrees(row, rule.where)]
    levels = Rows(mine).levels(rule.along)
    sign = 1.0 if rule.direction == "rises" else -1.0
    if len(levels) > 1:
        each = [_units(replace(rule, where={**rule.where, rule.along: level}), rows, role) for level in levels]
        pairs, table = stack(each)
        pairs = replace(pairs, columns=trends(table.T, [float(level) for level in levels])[None])
    else:  # one level has no order
        pairs = replace(_units(rule, rows, role), columns=np.zeros((1, 0)), units=(), clusters=())
    turned = replace(pairs, columns=sign * pairs.columns)
    evidence = trend(_means(turned, seed), rule.at_least, len(levels))
    reads = wording.order(rule.metric, rule.method, rule.along)
    found = _linear(pairs, evidence, sign * rule.at_least, sign, "correlation", reads)
    return replace(found, levels=len(levels))


def _correlates(rule: Correlates, rows: list[Row], seed: int) -> Contrast:
    pairs = pair(rows, [Role(rule.method, rule.metric), Role(rule.method, rule.other)], where=rule.where)
    ranked = rule.coefficient == "spearman"
    reads = wording.correlation(rule.metric, rule.other, rule.method, ranked=ranked)
    if rule.unit == "seed" and len(pairs):
        seeds = np.array(pairs.seeds)
        each = [coefficient(*pairs.columns[:, seeds == s], ranked=ranked) for s in np.unique(seeds)]
        pairs = replace(pairs.by_seed(), columns=np.array([each]))
        evidence = _means(pairs, seed).contrast([1.0], -rule.at_least)
    else:
        x, y = pairs.columns
        evidence = correlated(x, y, rule.at_least, ranked=ranked, clusters=pairs.clusters, seeds=pairs.seeds, seed=seed)
    found = _linear(pairs, evidence, rule.at_least, 1.0, "correlation", reads)
    return replace(found, fisher=pairs.kind != "seeds" and not evidence.by_seeds)


def _units(rule: Leaf, rows: list[Row], *roles: Role) -> Pairs:
    pairs = pair(rows, roles, where=rule.where)
    alone = len(pairs) == len(set(pairs.seeds)) and len(pairs) > 1  # one item a seed: the seeds are the units
    return pairs.by_seed() if rule.unit == "seed" or alone else pairs


def _fisher(correlation: float) -> float:
    return math.atanh(min(max(correlation, -0.9999), 0.9999))


def _means(pairs: Pairs, seed: int) -> Means:
    seeds = None if pairs.kind == "seeds" else pairs.seeds
    return Means(pairs.columns, clusters=pairs.clusters, seeds=seeds, seed=seed)


def _yes_or_no(pairs: Pairs) -> bool:
    return len(pairs) > 0 and pairs.kind != "seeds" and bool(np.isin(pairs.columns, (0.0, 1.0)).all())


def _plain(pairs: Pairs) -> bool:
    """Whether every unit stands alone: no groups, one seed."""
    return pairs.kind == "items" and len(set(pairs.seeds)) == 1
