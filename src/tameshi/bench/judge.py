"""Judging: rules and rows in, one verdict per claim out.

A claim *holds* if the whole 95 % interval of its contrast lies above zero, *fails* if it lies at or below, and is
*inconclusive* between. Before that, in this order:

1. The method has no values: *out of reach here* if the rule says so, else *inconclusive*, with the error if there was
   one.
2. The method gave a value that is not finite: *fails*. The other side did: *inconclusive*.
3. Nothing can be paired, most values are missing, or there is one unit only: *inconclusive*.
4. A control holds by its own interval: *blind*, whatever the method does. A control was not measured: nothing *holds*.
5. Every contrast is exactly zero: *fails*, for there is no advantage to show.

A rule of several parts (values of `each`, baselines, rules of an `AllOf`) holds if as many parts hold as are needed,
and fails if so many fail that this is out of the question; p-values are combined accordingly (partial conjunctions).
Last, Holm's correction over all claims of the run that have a p: a claim that is decided by itself, but not after it,
is *inconclusive*, in either direction. Both p-values are shown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tameshi.bench import wording
from tameshi.bench.contrasts import Contrast, Leaf, contrast
from tameshi.bench.statistics import LEVEL, TAIL, at_least, detectable, holm, required
from tameshi.bench.verdicts import OUTCOMES, Outcome, Verdict
from tameshi.bench.wording import Words
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
    for claim, count in Counter(_claim(rule) for rule in rules).items():
        if count > 1:
            raise ValueError(f"claim {claim} is judged by {count} rules; put them into one AllOf")
    return _corrected({_claim(rule): _judged(rule, held, seed).verdict for rule in rules})


@dataclass(frozen=True)
class _Judged:
    """A verdict with the one-sided p-values that decide it: against "does not hold" and against "does not fail"."""

    verdict: Verdict
    above: float = 1.0
    below: float = 1.0
    settled: bool = False  # by something else than an interval: no rows, not finite, nothing to pair


def _judged(rule: Rule, rows: Rows, seed: int) -> _Judged:
    match rule:
        case OutOfReach():
            if rule.then is not None and _measured(rule.then, rows):
                found = _judged(rule.then, rows, seed)
                return replace(found, verdict=replace(found.verdict, claim=rule.claim))
            return _Judged(Verdict(rule.claim, "out of reach here", why=dict(rule.reason)), settled=True)
        case AllOf():
            parts = [_judged(part, rows, seed) for part in rule.rules]
            labels = [wording.nth_part(place) for place in range(1, len(parts) + 1)]
            return _composed(rule.claim, parts, labels, len(parts))
        case Beats() | Reaches() | Within() | Orders() | Correlates():
            found = _spread(rule, rows, seed)
            return found if not rule.control else _controlled(found, rule, rows, seed)
        case _:
            raise TypeError(f"no way to judge a {type(rule).__name__}")


def _spread(rule: Leaf, rows: Rows, seed: int) -> _Judged:
    """Judge at every value of `each` and against every baseline, without controls."""
    levels = _levels(rule, rows)
    if levels:
        single = [replace(rule, where={**rule.where, **level}, each=(), needed=None) for level in levels]
        labels = [dict.fromkeys(("en", "ja"), ", ".join(f"{k} = {v}" for k, v in level.items())) for level in levels]
        parts = [_named(_spread(part, rows, seed), label) for part, label in zip(single, labels, strict=True)]
        return _composed(rule.claim, parts, labels, len(parts) if rule.needed is None else rule.needed)
    if isinstance(rule, Beats) and not isinstance(rule.baseline, str):
        parts = [_spread(replace(rule, baseline=baseline), rows, seed) for baseline in rule.baseline]
        return _composed(rule.claim, parts, [wording.against(b) for b in rule.baseline], len(parts))
    return _single(rule, rows, seed)


def _controlled(found: _Judged, rule: Leaf, rows: Rows, seed: int) -> _Judged:
    """Put each control in the method's place: one that holds makes the measure blind."""
    if found.settled:
        return found
    verdict, outcomes = found.verdict, dict.fromkeys(rule.control, "not measured")
    for name in rule.control:
        stand_in = replace(rule, method=name, control=())
        if _measured(stand_in, rows):
            outcomes[name] = _spread(stand_in, rows, seed).verdict.outcome
    verdict = replace(verdict, controls=outcomes)
    holding = [name for name, outcome in outcomes.items() if outcome == "holds"]
    absent = [name for name, outcome in outcomes.items() if outcome == "not measured"]
    if holding:
        return replace(found, verdict=_with(verdict, "blind", wording.blind(holding)), above=1.0)
    if absent and verdict.outcome == "holds":
        return replace(found, verdict=_with(verdict, "inconclusive", wording.control_missing(absent)), above=1.0)
    return replace(found, verdict=verdict)


def _single(rule: Leaf, rows: Rows, seed: int) -> _Judged:
    """Judge one contrast."""
    found = contrast(rule, rows, seed=seed)
    pairs, evidence = found.pairs, found.evidence
    notes = (wording.left_out(pairs.missing, pairs.unpaired, pairs.reasons), wording.errors(pairs.errors))
    obstacle = _obstacle(rule, found, rows)
    if obstacle is not None:
        outcome, sentence = obstacle
        known = found.figure if len(pairs) and math.isfinite(found.figure) else None
        unit = "seeds" if evidence.by_seeds else pairs.kind
        why = wording.join(sentence, *notes)
        verdict = Verdict(rule.claim, outcome, known, None, evidence.units, unit, found.reads, why)
        return _Judged(verdict, 1.0, 0.0 if outcome == "fails" else 1.0, settled=True)

    outcome = "holds" if evidence.shown else "fails" if evidence.refuted else "inconclusive"
    unit, n = _behind(found)
    seeds = sorted(set(pairs.seeds))
    verdict = Verdict(
        rule.claim,
        outcome,
        found.figure if math.isfinite(found.figure) else None,
        found.interval,
        n,
        unit,
        found.reads,
        wording.join(
            _sentence(found, outcome),
            wording.seeds_decide(n) if evidence.by_seeds else None,
            wording.one_seed(seeds[0]) if len(seeds) == 1 else None,
            *notes,
        ),
        _power(found, outcome),
        None if evidence.differing == 0 else evidence.p,
    )
    return _Judged(verdict, evidence.above, 0.0 if evidence.differing == 0 else evidence.below)


def _obstacle(rule: Leaf, found: Contrast, rows: Rows) -> tuple[Outcome, Words] | None:
    """What keeps a contrast from being judged by its interval."""
    pairs = found.pairs
    if not _measured(rule, rows):
        return "inconclusive", wording.no_rows(rule.method, rule.metric)
    for method, n in sorted(pairs.broken.items(), key=lambda item: item[0] != rule.method):
        return "fails" if method == rule.method else "inconclusive", wording.not_finite(method, n)
    total = len(pairs) + pairs.missing
    if pairs.missing > total / 2:  # our choice: a majority of what was asked
        return "inconclusive", wording.mostly_missing(pairs.missing, total)
    if isinstance(rule, Orders) and found.levels < 2:
        return "inconclusive", wording.one_level(rule.along)
    if not len(pairs):
        return "inconclusive", wording.nothing_shared(_names(rule))
    if found.evidence.low == -math.inf and found.evidence.high == math.inf:
        return "inconclusive", wording.too_few(found.evidence.units, pairs.kind)
    return None


def _sentence(found: Contrast, outcome: Outcome) -> Words:
    evidence = found.evidence
    unit, n = _behind(found)
    behind = wording.count(n, unit)
    if unit != "seeds" and len(set(found.pairs.seeds)) > 1:
        behind = wording.of_seeds(behind, len(set(found.pairs.seeds)))
    if evidence.differing == 0:
        return wording.all_tied(behind)

    def shown(value: float) -> Words:
        return wording.quantity(value, found.noun, found.points)

    ends = None if found.interval is None else (shown(found.interval[0]), shown(found.interval[1]))
    if outcome == "inconclusive" and (evidence.low > 0 or evidence.high <= 0):
        lies = wording.few_differ(evidence.differing, behind, evidence.p)
        return wording.join(wording.measured(shown(found.figure), ends, behind, shown(found.bar), found.side, ""), lies)
    return wording.measured(shown(found.figure), ends, behind, shown(found.bar), found.side, outcome)


def _power(found: Contrast, outcome: Outcome) -> Words:
    """What would have been missed, and, where nothing was decided, how many units would decide it."""
    evidence = found.evidence
    if not (evidence.error > 0 and math.isfinite(found.scale)):
        return {}
    unit, n = _behind(found)
    half = found.at(detectable(evidence.error, evidence.freedom))
    missed = wording.missed_half(wording.count(n, unit), found.noun, wording.quantity(half, found.noun, found.points))
    if outcome != "inconclusive":
        return missed
    spread = evidence.error * math.sqrt(evidence.units)
    wanted = required(found.distance, spread, fewest=evidence.units + 1)
    if wanted is None:
        return wording.join(missed, wording.never_settles(found.noun))
    wanted = math.ceil(wanted * n / evidence.units)
    figure = wording.quantity(found.figure, found.noun, found.points)
    return wording.join(missed, wording.would_settle(found.noun, figure, wanted, unit))


def _behind(found: Contrast) -> tuple[str, int]:
    """What is independent, and how many of it: items are counted in every seed, even where they come back."""
    if found.evidence.by_seeds or found.pairs.kind == "seeds":
        return "seeds", found.evidence.units
    return found.pairs.kind, found.evidence.units if found.pairs.kind == "groups" else len(found.pairs)


def _composed(claim: str, parts: Sequence[_Judged], labels: Sequence[Words], needed: int) -> _Judged:
    """Put parts together, of which `needed` must hold."""
    if len(parts) == 1:
        return replace(parts[0], verdict=replace(parts[0].verdict, claim=claim))
    verdicts = [part.verdict for part in parts]
    count = Counter(verdict.outcome for verdict in verdicts)
    to_refute = len(parts) - needed + 1
    above = at_least(needed, [part.above for part in parts])
    below = at_least(to_refute, [part.below for part in parts])
    outcome: Outcome = "inconclusive"
    if count["holds"] >= needed and above <= TAIL:
        outcome = "holds"
    elif count["fails"] >= to_refute and below <= TAIL:
        outcome = "fails"
    elif count["blind"] and count["holds"] + count["blind"] >= needed:
        outcome = "blind"
    elif count["out of reach here"] and count["holds"] + count["blind"] + count["out of reach here"] >= needed:
        outcome = "out of reach here"
    if outcome == "fails":
        decisive = sorted(range(len(parts)), key=lambda i: parts[i].below)[to_refute - 1]
    else:
        decisive = sorted(range(len(parts)), key=lambda i: parts[i].above)[needed - 1]
    chosen, label = verdicts[decisive], labels[decisive]
    open_parts = count["holds"] >= needed or count["fails"] >= to_refute
    p = min(1.0, 2 * min(above, below))
    verdict = replace(
        chosen,
        claim=claim,
        outcome=outcome,
        why=wording.join(
            wording.composed({o: count[o] for o in OUTCOMES}, needed, len(parts)),
            wording.parts_together() if outcome == "inconclusive" and open_parts else None,
            wording.within_part(label, chosen.why),
        ),
        p=None if p == 0 or all(v.p is None for v in verdicts) else p,
        parts=tuple(verdicts),
    )
    return _Judged(verdict, above, below, settled=all(part.settled for part in parts))


def _named(part: _Judged, label: Words) -> _Judged:
    """The part, its figure named with the condition it was taken under."""
    return replace(part, verdict=replace(part.verdict, reads=wording.within_part(label, part.verdict.reads)))


def _corrected(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Holm over all claims of the run that have a p."""
    adjusted = holm({claim: verdict.p for claim, verdict in verdicts.items() if verdict.p is not None})
    made = dict(verdicts)
    for claim, p_holm in adjusted.items():
        verdict = replace(verdicts[claim], p_holm=p_holm)
        if verdict.outcome in ("holds", "fails") and p_holm > 1 - LEVEL:
            assert verdict.p is not None
            verdict = _with(verdict, "inconclusive", wording.after_holm(verdict.p, p_holm, len(adjusted)))
        made[claim] = verdict
    return made


def _with(verdict: Verdict, outcome: Outcome, sentence: Words) -> Verdict:
    return replace(verdict, outcome=outcome, why=wording.join(sentence, verdict.why))


def _levels(rule: Leaf, rows: Rows) -> list[dict[str, Scalar]]:
    """Every combination of the conditions in `each` under which the method or what it is held against was tried."""
    if not rule.each:
        return []
    tried = [
        row
        for row in rows
        if row.method in _names(rule)[:2]
        and (rule.check is None or row.check == rule.check)
        and (rule.metric in row.values or row.error is not None)
        and all(row.conditions.get(name) == value for name, value in rule.where.items())
        and all(name in row.conditions for name in rule.each)
    ]
    found = {tuple(row.conditions[name] for name in rule.each) for row in tried}
    ordered = sorted(found, key=lambda values: [(isinstance(v, str), v) for v in values])
    return [dict(zip(rule.each, values, strict=True)) for values in ordered]


def _measured(rule: Rule, rows: Rows) -> bool:
    """Whether the method that a rule judges has values to judge by."""
    match rule:
        case AllOf():
            return all(_measured(part, rows) for part in rule.rules)
        case OutOfReach():
            return rule.then is not None and _measured(rule.then, rows)
        case Beats() | Reaches() | Within() | Orders() | Correlates():
            mine = (row for row in rows if rule.check is None or row.check == rule.check)
            return any(
                row.method == rule.method
                and rule.metric in row.values
                and all(row.conditions.get(name) == value for name, value in rule.where.items())
                for row in mine
            )
    return False


def _names(rule: Leaf) -> tuple[str, ...]:
    """The method, and what it is held against."""
    match rule:
        case Beats():
            others = (rule.baseline,) if isinstance(rule.baseline, str) else rule.baseline
            return (rule.method, *others, *(() if rule.gap_to is None else (rule.gap_to,)))
        case Reaches():
            return (rule.method, rule.target) if isinstance(rule.target, str) else (rule.method,)
        case Within():
            return (rule.method, rule.reference)
        case Orders() | Correlates():
            return (rule.method,)


def _claim(rule: Rule) -> str:
    match rule:
        case Beats() | Reaches() | Within() | Orders() | Correlates() | AllOf() | OutOfReach():
            return rule.claim
    raise TypeError(f"no way to judge a {type(rule).__name__}")
