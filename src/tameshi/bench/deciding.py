"""One contrast, decided and put into words: the outcome, the figure, why, and what would have been missed."""

from __future__ import annotations

import math

from tameshi.bench import wording
from tameshi.bench.composing import Judged
from tameshi.bench.contrasts import Contrast, Leaf, contrast
from tameshi.bench.verdicts import Outcome, Verdict
from tameshi.bench.wording import Words
from tameshi.nouns.rows import Rows
from tameshi.nouns.rules import AllOf, Beats, Correlates, Orders, OutOfReach, Reaches, Rule, Within


def decide(rule: Leaf, rows: Rows, seed: int) -> Judged:
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
        return Judged(verdict, 1.0, 0.0 if outcome == "fails" else 1.0, settled=True)

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
            wording.no_interval() if found.interval is None else None,
            wording.seeds_decide(n) if evidence.by_seeds else None,
            wording.one_seed(seeds[0]) if len(seeds) == 1 and "seed" not in rule.where else None,
            *notes,
        ),
        _power(found, outcome),
        None if evidence.differing == 0 else evidence.p,
    )
    return Judged(verdict, evidence.above, 0.0 if evidence.differing == 0 else evidence.below)


def _obstacle(rule: Leaf, found: Contrast, rows: Rows) -> tuple[Outcome, Words] | None:
    """What keeps a contrast from being judged by its interval."""
    pairs = found.pairs
    if not measured(rule, rows):
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
        few = evidence.differing < evidence.units and not evidence.by_seeds
        lies = wording.few_differ(evidence.differing, behind, evidence.p) if few else wording.still_chance(evidence.p)
        return wording.join(wording.measured(shown(found.figure), ends, behind, shown(found.bar), found.side, ""), lies)
    return wording.measured(shown(found.figure), ends, behind, shown(found.bar), found.side, outcome)


def _power(found: Contrast, outcome: Outcome) -> Words:
    """What would have been missed, and, where nothing was decided, how many units would decide it."""
    half = found.half_missed
    if half is None:
        return {}
    unit, n = _behind(found)
    missed = wording.missed_half(wording.count(n, unit), found.noun, wording.quantity(half, found.noun, found.points))
    if outcome != "inconclusive":
        return missed
    wanted = found.units_for(found.figure)
    if wanted is None:
        return wording.join(missed, wording.never_settles(found.noun))
    units = found.evidence.units
    wanted = math.ceil(max(wanted, units + 1) * n / units)  # items that come back under every seed are counted in each
    figure = wording.quantity(found.figure, found.noun, found.points)
    return wording.join(missed, wording.would_settle(found.noun, figure, wanted, unit))


def _behind(found: Contrast) -> tuple[str, int]:
    """What is independent, and how many of it: items are counted in every seed, even where they come back."""
    if found.evidence.by_seeds or found.pairs.kind == "seeds":
        return "seeds", found.evidence.units
    return found.pairs.kind, found.evidence.units if found.pairs.kind == "groups" else len(found.pairs)


def measured(rule: Rule, rows: Rows) -> bool:
    """Whether the method that a rule judges has values to judge by."""
    match rule:
        case AllOf():
            return all(measured(part, rows) for part in rule.rules)
        case OutOfReach():
            return rule.then is not None and measured(rule.then, rows)
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
