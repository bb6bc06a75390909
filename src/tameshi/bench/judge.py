"""Judging: rules and rows in, one verdict per claim out.

A claim *holds* if the whole 95 % interval of its contrast lies above zero, *fails* if it lies at or below, and is
*inconclusive* between. Before that, in this order:

1. The method has no values: *out of reach here* if the rule says so, else *inconclusive*, with the error if there was
   one.
2. The method gave a value that is not finite: *fails*. The other side did: *inconclusive*.
3. Nothing can be paired, most values are missing, or there is one unit only: *inconclusive*.
4. A control holds by its own interval: *blind*, whatever the method does. A control was not measured: nothing *holds*.
5. Every contrast is exactly zero: *fails*, for there is no advantage to show.

Parts of a rule (values of `each`, baselines, rules of an `AllOf`) are put together in `composing`. Last comes Holm's
correction over all claims of the run that have a p: a claim that is decided by itself, but not after it, is
*inconclusive*, in either direction. Both p-values are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tameshi.bench import wording
from tameshi.bench.composing import Judged, compose, corrected, named, turned
from tameshi.bench.contrasts import Leaf
from tameshi.bench.deciding import decide, measured
from tameshi.bench.verdicts import Verdict
from tameshi.nouns.rows import Row, Rows, Scalar
from tameshi.nouns.rules import AllOf, Beats, Correlates, Orders, OutOfReach, Reaches, Rule, Within


def judge(rules: Sequence[Rule], rows: Iterable[Row], *, seed: int = 0) -> dict[str, Verdict]:
    """Read every claim off the rows of a run.

    Args:
        rules: one per claim.
        rows: of the run, in any order.
        seed: of the bootstrap; with the same rows and seed every verdict is the same.

    Returns:
        claim id -> verdict, in the order of the rules.

    Raises:
        ValueError: a row stands twice, two rules judge one claim, or a rule leaves open which check it means.
    """
    held = rows if isinstance(rows, Rows) else Rows(rows)
    for key, count in Counter(row.key for row in held).items():
        if count > 1:
            raise ValueError(f"a row must stand once in a run, but {key} stands {count} times")
    for claim, count in Counter(rule.claim for rule in rules).items():
        if count > 1:
            raise ValueError(f"claim {claim} is judged by {count} rules; put them into one AllOf")
    return corrected({rule.claim: _judged(rule, held, seed).verdict for rule in rules})


def _judged(rule: Rule, rows: Rows, seed: int) -> Judged:
    match rule:
        case OutOfReach():
            if rule.then is not None and measured(rule.then, rows):
                found = _judged(rule.then, rows, seed)
                return replace(found, verdict=replace(found.verdict, claim=rule.claim))
            return Judged(Verdict(rule.claim, "out of reach here", why=dict(rule.reason)), settled=True)
        case AllOf():
            parts = [_judged(part, rows, seed) for part in rule.rules]
            labels = [wording.nth_part(place) for place in range(1, len(parts) + 1)]
            return compose(rule.claim, parts, labels, len(parts))
        case Beats() | Reaches() | Within() | Orders() | Correlates():
            found = _spread(rule, rows, seed)
            return found if not rule.control else _controlled(found, rule, rows, seed)
        case _:
            raise TypeError(f"no way to judge a {type(rule).__name__}")


def _spread(rule: Leaf, rows: Rows, seed: int) -> Judged:
    """Judge at every value of `each` and against every baseline, without controls."""
    levels = _levels(rule, rows)
    if levels:
        single = [replace(rule, where={**rule.where, **level}, each=(), needed=None) for level in levels]
        labels = [dict.fromkeys(("en", "ja"), ", ".join(f"{k} = {v}" for k, v in level.items())) for level in levels]
        parts = [named(_spread(part, rows, seed), label) for part, label in zip(single, labels, strict=True)]
        needed = len(parts) if rule.needed is None else rule.needed
        return compose(rule.claim, parts, labels, needed)
    if isinstance(rule, Beats) and not isinstance(rule.baseline, str):
        parts = [_spread(replace(rule, baseline=baseline), rows, seed) for baseline in rule.baseline]
        return compose(rule.claim, parts, [wording.against(b) for b in rule.baseline], len(parts))
    return decide(rule, rows, seed)


def _controlled(found: Judged, rule: Leaf, rows: Rows, seed: int) -> Judged:
    """Put each control in the method's place: one that holds makes the measure blind."""
    if found.settled:
        return found
    verdict, outcomes = found.verdict, dict.fromkeys(rule.control, "not measured")
    for name in rule.control:
        stand_in = replace(rule, method=name, control=())
        if measured(stand_in, rows):
            outcomes[name] = _spread(stand_in, rows, seed).verdict.outcome
    verdict = replace(verdict, controls=outcomes)
    holding = [name for name, outcome in outcomes.items() if outcome == "holds"]
    absent = [name for name, outcome in outcomes.items() if outcome == "not measured"]
    if holding:
        return replace(found, verdict=turned(verdict, "blind", wording.blind(holding)), above=1.0)
    if absent and verdict.outcome == "holds":
        return replace(found, verdict=turned(verdict, "inconclusive", wording.control_missing(absent)), above=1.0)
    return replace(found, verdict=verdict)


def _levels(rule: Leaf, rows: Rows) -> list[dict[str, Scalar]]:
    """Every combination of the conditions in `each` under which the method or what it is held against was tried."""
    if not rule.each:
        return []
    opponents: tuple[str, ...] = ()
    if isinstance(rule, Beats):
        opponents = (rule.baseline,) if isinstance(rule.baseline, str) else rule.baseline
    elif isinstance(rule, Within):
        opponents = (rule.reference,)
    tried = [
        row
        for row in rows
        if row.method in (rule.method, *opponents)
        and (rule.check is None or row.check == rule.check)
        and (rule.metric in row.values or row.error is not None)
        and all(row.conditions.get(name) == value for name, value in rule.where.items())
        and all(name in row.conditions for name in rule.each)
    ]
    found = {tuple(row.conditions[name] for name in rule.each) for row in tried}
    ordered = sorted(found, key=lambda values: [(isinstance(v, str), v) for v in values])
    return [dict(zip(rule.each, values, strict=True)) for values in ordered]
