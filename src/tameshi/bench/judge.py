"""Judging: rules and rows in, verdicts out. First version: Student's interval of the mean contrast."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from tameshi.bench.pairing import Floats, Pairs, Role, pair
from tameshi.bench.verdicts import Outcome, Verdict
from tameshi.nouns.rows import Row, Rows, Scalar
from tameshi.nouns.rules import AllOf, Beats, Correlates, Difference, Orders, OutOfReach, Reaches, Rule, Within


def judge(rules: Sequence[Rule], rows: Iterable[Row], *, seed: int = 0) -> dict[str, Verdict]:
    """Read every claim off the rows.

    Raises:
        ValueError: a row stands twice, or two rules judge the same claim.
    """
    held = rows if isinstance(rows, Rows) else Rows(rows)
    twice = [key for key, count in Counter(row.key for row in held).items() if count > 1]
    if twice:
        raise ValueError(
            f"a row must stand once in a run, but {twice[0]} stands {Counter(r.key for r in held)[twice[0]]} times"
        )
    claims = Counter(rule.claim for rule in rules)  # type: ignore[attr-defined]  # every concrete rule has a claim
    for claim, count in claims.items():
        if count > 1:
            raise ValueError(f"claim {claim} is judged by {count} rules; put them into one AllOf")
    verdicts = {v.claim: v for v in (_judge(rule, held) for rule in rules)}
    return verdicts


def _judge(rule: Rule, rows: Rows) -> Verdict:
    if isinstance(rule, OutOfReach):
        if rule.then is not None and _measured(rule.then, rows):
            return replace(_judge(rule.then, rows), claim=rule.claim)
        return Verdict(rule.claim, "out of reach here", why=dict(rule.reason))
    if isinstance(rule, AllOf):
        return _all(rule.claim, [_judge(part, rows) for part in rule.rules])
    levels = _levels(rule, rows)
    if rule.each and levels:
        parts = [_judge(replace(rule, where={**rule.where, **level}, each=(), needed=None), rows) for level in levels]
        return _all(rule.claim, parts, rule.needed)
    if isinstance(rule, Beats) and not isinstance(rule.baseline, str):
        return _all(rule.claim, [_judge(replace(rule, baseline=b), rows) for b in rule.baseline])
    verdict = _one(rule, rows)
    controls = {c: _one(replace(rule, method=c), rows).outcome for c in rule.control}  # type: ignore[call-arg]
    if "holds" in controls.values():
        return replace(verdict, outcome="blind", controls=controls)
    return replace(verdict, controls=controls)


def _measured(rule: Rule, rows: Rows) -> bool:
    if isinstance(rule, AllOf):
        return all(_measured(part, rows) for part in rule.rules)
    if isinstance(rule, OutOfReach):
        return rule.then is not None and _measured(rule.then, rows)
    return len(rows.where(check=rule.check, method=rule.method, metric=rule.metric, **rule.where)) > 0  # type: ignore[attr-defined]


def _levels(rule: Rule, rows: Rows) -> list[dict[str, Scalar]]:
    if not rule.each:
        return []
    mine = rows.where(check=rule.check, method=rule.method, **rule.where)  # type: ignore[attr-defined]
    found = [mine.levels(name) for name in rule.each]
    combined = [dict(zip(rule.each, values, strict=True)) for values in itertools.product(*found)]
    return [level for level in combined if len(mine.where(**level))]


def _all(claim: str, parts: Sequence[Verdict], needed: int | None = None) -> Verdict:
    needed = len(parts) if needed is None else needed
    count = Counter(part.outcome for part in parts)
    outcome: Outcome = "inconclusive"
    if count["holds"] >= needed:
        outcome = "holds"
    elif len(parts) - count["fails"] < needed:
        outcome = "fails"
    elif count["holds"] + count["blind"] >= needed:
        outcome = "blind"
    elif count["out of reach here"] and needed == len(parts):
        outcome = "out of reach here"
    worst = next((p for p in parts if p.outcome == outcome), parts[0])
    return replace(worst, claim=claim, outcome=outcome, parts=tuple(parts))


@dataclass(frozen=True)
class _Contrast:
    values: Floats
    pairs: Pairs
    figure: float
    reads: Mapping[str, str]


def _one(rule: Rule, rows: Rows) -> Verdict:
    found = _contrast(rule, rows)
    claim: str = rule.claim  # type: ignore[attr-defined]
    if rule.method in found.pairs.broken:  # type: ignore[attr-defined]
        return Verdict(claim, "fails", why=_both(f"values that are not finite: {dict(found.pairs.broken)}"))
    values = found.values
    if len(values) and rule.unit == "seed":
        values = np.array([values[found.pairs.seeds == s].mean() for s in np.unique(found.pairs.seeds)])
    unit = "seeds" if rule.unit == "seed" or found.pairs.kind == "rows" else found.pairs.kind
    if not len(values):
        errors = "; ".join(found.pairs.errors)
        return Verdict(claim, "inconclusive", unit=unit, why=_both(f"no rows to judge by. {errors}".strip()))
    n = len(values)
    mean = float(values.mean())
    if not values.any():
        outcome: Outcome = "fails"
        low = high = 0.0
    elif n < 2:
        return Verdict(claim, "inconclusive", found.figure, None, n, unit, found.reads, _both("one unit has no spread"))
    else:
        half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
        low, high = mean - half, mean + half
        outcome = "holds" if low > 0 else "fails" if high <= 0 else "inconclusive"
    why = f"mean contrast {mean:.3g}, 95 % interval {low:.3g} to {high:.3g}, n = {n} {unit}"
    return Verdict(claim, outcome, found.figure, None, n, unit, found.reads, _both(why))


def _contrast(rule: Rule, rows: Rows) -> _Contrast:
    def of(*roles: Role) -> Pairs:
        return pair(rows, roles, check=rule.check, where=rule.where)

    if isinstance(rule, Beats):
        assert isinstance(rule.baseline, str)
        sign = 1.0 if rule.better == "higher" else -1.0
        roles = [Role(rule.method, rule.metric), Role(rule.baseline, rule.metric)]
        if rule.gap_to is not None:
            roles.append(Role(rule.gap_to, rule.metric))
        pairs = of(*roles)
        m, b = pairs.columns[0], pairs.columns[1]
        if rule.gap_to is not None:
            m, b = m - pairs.columns[2], b - pairs.columns[2]
        if isinstance(rule.by, Difference):
            return _Contrast(
                sign * (m - b) - rule.by.amount,
                pairs,
                _mean(m - b),
                _both(f"{rule.metric}: {rule.method} minus {rule.baseline}"),
            )
        ratio = _mean(m) / _mean(b) if len(b) and _mean(b) else float("nan")
        return _Contrast(
            sign * (m - rule.by.factor * b),
            pairs,
            ratio,
            _both(f"{rule.metric}: ratio of {rule.method} to {rule.baseline}"),
        )
    if isinstance(rule, Reaches):
        sign = 1.0 if rule.better == "higher" else -1.0
        if isinstance(rule.target, str):
            pairs = of(Role(rule.method, rule.metric), Role(rule.target, rule.metric))
            target = pairs.columns[1]
        else:
            pairs = of(Role(rule.method, rule.metric))
            target = np.full(len(pairs), float(rule.target))
        return _Contrast(
            sign * (pairs.columns[0] - rule.share * target),
            pairs,
            _mean(pairs.columns[0]),
            _both(f"{rule.metric} of {rule.method}"),
        )
    if isinstance(rule, Within):
        sign = 1.0 if rule.better == "higher" else -1.0
        pairs = of(Role(rule.method, rule.metric), Role(rule.reference, rule.metric))
        gap = pairs.columns[0] - pairs.columns[1]
        return _Contrast(
            sign * gap + rule.margin, pairs, _mean(gap), _both(f"{rule.metric}: {rule.method} minus {rule.reference}")
        )
    if isinstance(rule, Orders):
        levels = rows.where(check=rule.check, method=rule.method, **rule.where).levels(rule.along)
        each = [
            pair(rows, [Role(rule.method, rule.metric)], check=rule.check, where={**rule.where, rule.along: level})
            for level in levels
        ]
        sign = 1.0 if rule.direction == "rises" else -1.0
        if len(each) < 2 or len({len(p) for p in each}) > 1:
            return _Contrast(np.zeros(0), pair((), [Role(rule.method, rule.metric)]), float("nan"), _both(""))
        table = np.array([p.columns[0] for p in each])
        ranks = np.array([_correlation(np.asarray(levels, dtype=float), column) for column in table.T])
        return _Contrast(
            sign * ranks - rule.at_least,
            each[0],
            _mean(ranks),
            _both(f"rank correlation of {rule.metric} with {rule.along}"),
        )
    if isinstance(rule, Correlates):
        pairs = of(Role(rule.method, rule.metric), Role(rule.method, rule.other))
        seeds = np.unique(pairs.seeds)
        rho = np.array([_correlation(*pairs.columns[:, pairs.seeds == s]) for s in seeds])
        return _Contrast(
            rho - rule.at_least,
            replace(pairs, kind="rows", seeds=seeds),
            _mean(rho),
            _both(f"rank correlation of {rule.metric} and {rule.other}"),
        )
    raise TypeError(f"no way to judge a {type(rule).__name__}")


def _correlation(x: Floats, y: Floats) -> float:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(stats.spearmanr(x, y).statistic)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _both(text: str) -> dict[str, str]:
    return {"en": text, "ja": text}
