"""Is A really better than B? Any two results, paired item by item and seed by seed.

    compare("last", "q-filters-20250304", method="q-filters").sentence()
    compare("logs/a.eval", "logs/b.eval").table()

The question is two-sided and knows no direction: a loss and an accuracy are both "higher" or "lower". Every measure
that both sides have (a metric of a check under its conditions) is one line; Holm's correction runs over the lines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tameshi.bench import wording
from tameshi.bench.contrasts import Contrast, contrast
from tameshi.bench.result import named
from tameshi.bench.sources import NotComparable, Source, named_apart, read
from tameshi.bench.statistics import LEVEL, holm, improvement, improvement_interval
from tameshi.bench.wording import Words
from tameshi.doors.screen import plain
from tameshi.nouns.rows import Row, Rows, Scalar
from tameshi.nouns.rules import Beats

if TYPE_CHECKING:
    from rich.table import Table

Told = Literal["higher", "lower", "not told apart", "cannot be judged"]
FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Line:
    """One measure on both sides.

    Args:
        check, conditions, metric: what was measured.
        first, second: means over the units that both sides have.
        difference: first minus second.
        interval: of the difference, 95 %; None if it cannot be judged.
        n: units behind it.
        unit: what they are: "items", "groups" or "seeds".
        wins, ties, losses: units on which the first is higher, equal, lower.
        test: how it was tested.
        p, p_holm: two-sided, alone and among the lines.
        told: what can be said at 5 % after Holm.
        points: whether the values are yes and no.
        improvement: probability that a run of the first is higher than a run of the second, with its 95 % interval, as
            rliable defines it; None with fewer than three seeds.
        power: what would have been missed, and how many units would settle it.
        notes: what was left out, and why it cannot be judged.
    """

    check: str
    conditions: Mapping[str, Scalar]
    metric: str
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None
    n: int
    unit: str
    wins: int
    ties: int
    losses: int
    test: str
    p: float | None
    p_holm: float | None
    told: Told
    points: bool
    improvement: tuple[float, float, float] | None
    power: Mapping[str, str]
    notes: Mapping[str, str]

    @property
    def name(self) -> str:
        """The metric, with the conditions it was taken under."""
        under = ", ".join(f"{k} = {v}" for k, v in self.conditions.items())
        return f"{self.metric} ({under})" if under else self.metric


@dataclass(frozen=True)
class Comparison:
    """Two results held against each other.

    Args:
        first, second: what is compared, for people.
        lines: one per measure that both have, at least one.
    """

    first: str
    second: str
    lines: tuple[Line, ...]

    def sentence(self, lang: str = "en") -> str:
        """The answer."""
        said = _one(self, self.lines[0]) if len(self.lines) == 1 else _many(self)
        return said[lang]

    def table(self, lang: str = "en") -> Table:
        """One line per measure, as a Rich table."""
        from rich.table import Table
        from rich.text import Text

        words = HEADS[lang]
        table = Table(title=Text(f"{plain(self.first)} − {plain(self.second)}"), title_justify="left")
        for head in words:
            table.add_column(head, overflow="fold", justify="left" if head in words[:1] + words[-1:] else "right")
        for line in self.lines:
            shown = {
                side: _quantity(line, value, "mean")[lang]
                for side, value in zip("ab", (line.first, line.second), strict=True)
            }
            ends = line.interval and [_quantity(line, end, "difference")[lang] for end in line.interval]
            table.add_row(
                Text(plain(line.name)),
                shown["a"],
                shown["b"],
                _quantity(line, line.difference, "difference")[lang],
                f"{ends[0]} … {ends[1]}" if ends else "–",
                f"{line.wins}/{line.ties}/{line.losses}",
                "–" if line.p is None else wording.chance(line.p).removeprefix("p = ").removeprefix("p "),
                "–" if line.p_holm is None else wording.chance(line.p_holm).removeprefix("p = ").removeprefix("p "),
                wording.count(line.n, line.unit)[lang],
                TOLD[line.told][lang],
            )
        return table

    def to_json(self) -> dict[str, Any]:
        """All of it, for `--json`."""
        return dataclasses.asdict(self)


def compare(
    a: str | Path,
    b: str | Path,
    *,
    method: str | None = None,
    against: str | None = None,
    metric: str | None = None,
) -> Comparison:
    """Hold two results against each other.

    Args:
        a, b: runs or logs, as `sources.read` takes them; the same run twice to compare two of its methods.
        method: which method of `a`; needed where it has several.
        against: which method of `b`; left out, the same as of `a` if `b` has it, else its only one.
        metric: only this one.

    Raises:
        NotComparable: nothing can be paired, with the reason.
    """
    first, second = read(a), read(b)
    mine = _method(first, method, "--method")
    if against is None and method is None and len(second.rows.methods) == 1:
        theirs = second.rows.methods[0]
    else:
        theirs = _method(second, against or (mine if mine in second.rows.methods else None), "--against")
    if (first.name, first.place) == (second.name, second.place) and mine == theirs:
        raise NotComparable(f"{mine} of {first.name} is compared with itself; name another method with --against")
    _same_questions(first, second)
    _same_data(first, second)
    names = _names(first, second, mine, theirs)
    lines = _corrected(_lines(first, second, mine, theirs, metric))
    if not lines:
        raise NotComparable(_why_nothing(first, second, mine, theirs, metric))
    return Comparison(*names, lines)


def measure_line(rows: Sequence[Row], check: str, metric: str, conditions: Mapping[str, Scalar]) -> Line | None:
    """One measure of the methods named FIRST and SECOND; None where they have no unit in common."""
    found = contrast(Beats("", FIRST, SECOND, metric, "higher", check=check, where=conditions), rows)
    pairs, evidence = found.pairs, found.evidence
    if not len(pairs) and not pairs.broken:
        return None
    a, b = pairs.columns
    judged = evidence.low > -float("inf") and not pairs.broken
    exact = found.points and pairs.kind == "items" and len(set(pairs.seeds)) == 1
    notes = [wording.left_out(pairs.missing, pairs.unpaired, pairs.reasons), wording.errors(pairs.errors)]
    notes += [wording.not_finite(name, n) for name, n in pairs.broken.items()]
    if not judged and not pairs.broken:
        notes.append(wording.too_few(evidence.units, pairs.kind))
    return Line(
        check=check,
        conditions=dict(conditions),
        metric=metric,
        first=float(a.mean()) if len(a) else float("nan"),
        second=float(b.mean()) if len(b) else float("nan"),
        difference=found.figure,
        interval=found.interval if judged else None,
        n=evidence.units if evidence.by_seeds or pairs.kind != "items" else len(pairs),
        unit="seeds" if evidence.by_seeds else pairs.kind,
        wins=int((a > b).sum()),
        ties=int((a == b).sum()),
        losses=int((a < b).sum()),
        test="McNemar, Newcombe" if exact else "Student, bootstrap-t",
        p=evidence.p if judged else None,
        p_holm=None,
        told="not told apart" if judged else "cannot be judged",
        points=found.points,
        improvement=_improvement(found),
        power=_power(found) if judged else {},
        notes=wording.join(*notes),
    )


def told_apart(line: Line, p_holm: float) -> Line:
    """The line with what can be said of it after Holm."""
    told: Told = "not told apart"
    if line.interval is not None and p_holm <= 1 - LEVEL and not line.interval[0] <= 0 <= line.interval[1]:
        told = "higher" if line.difference > 0 else "lower"
    return replace(line, p_holm=p_holm, told=told)


def relabelled(rows: Rows, method: str, name: str) -> list[Row]:
    """The rows of one method under another name."""
    return [replace(row, method=name) for row in rows if row.method == method]


def _lines(first: Source, second: Source, mine: str, theirs: str, metric: str | None) -> list[Line]:
    both = relabelled(first.rows, mine, FIRST) + relabelled(second.rows, theirs, SECOND)
    measures: dict[str, tuple[str, str, Mapping[str, Scalar]]] = {}
    for row in both:
        for name in row.values if row.method == FIRST else ():
            if metric is None or name == metric:
                measures[str((row.check, name, sorted(row.conditions.items())))] = (row.check, name, row.conditions)
    return [line for m in sorted(measures) if (line := measure_line(both, *measures[m])) is not None]


def _corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
    adjusted = holm({str(i): line.p for i, line in enumerate(lines) if line.p is not None})
    return tuple(told_apart(line, adjusted[str(i)]) if str(i) in adjusted else line for i, line in enumerate(lines))


def _method(source: Source, wanted: str | None, option: str) -> str:
    methods = source.rows.methods
    if wanted is None and len(methods) == 1:
        return methods[0]
    shown = ", ".join(methods)
    if wanted is None:
        raise NotComparable(f"{source.name} holds several methods ({shown}); name one with {option}")
    if wanted not in methods:
        raise NotComparable(f"{source.name} holds no method {wanted}; it holds {shown}")
    return wanted


def _names(first: Source, second: Source, mine: str, theirs: str) -> tuple[str, str]:
    if first.kind == second.kind == "run":
        same = mine == theirs
        return (f"{mine} ({first.name})", f"{theirs} ({second.name})") if same else (mine, theirs)
    one, other = named_apart([first, second])
    return one, other


def _same_questions(first: Source, second: Source) -> None:
    for (check, item), asked in first.questions.items():
        if second.questions.get((check, item), asked) != asked:
            raise NotComparable(
                f"item {item} of {check} is not the same question on both sides; the data changed in between, "
                "so items cannot be paired"
            )


def _same_data(first: Source, second: Source) -> None:
    one, other = first.subjects.get("data"), second.subjects.get("data")
    if one and other and one["sha256"] != other["sha256"]:
        raise NotComparable(
            f"{first.name} was given {named(one['name'])} and {second.name} {named(other['name'])}; "
            "items of different data cannot be paired"
        )


def _why_nothing(first: Source, second: Source, mine: str, theirs: str, metric: str | None) -> str:
    one, other = first.rows.where(method=mine), second.rows.where(method=theirs)
    metrics = [sorted({name for row in rows for name in row.values}) for rows in (one, other)]
    shown = [", ".join(names) or "nothing" for names in metrics]
    if metric is not None and any(metric not in names for names in metrics):
        return f"{metric} is not measured on both sides: {first.name} has {shown[0]}, {second.name} has {shown[1]}"
    if not set(metrics[0]) & set(metrics[1]):
        return f"no metric is measured on both sides: {first.name} has {shown[0]}, {second.name} has {shown[1]}"
    checks = [sorted({row.check for row in rows}) for rows in (one, other)]
    if not set(checks[0]) & set(checks[1]):
        return f"the two are about different tasks: {', '.join(checks[0])} and {', '.join(checks[1])}"
    return "no item was measured on both sides under the same seed and conditions, so nothing can be paired"


def _improvement(found: Contrast) -> tuple[float, float, float] | None:
    seeds = found.pairs.by_seed().columns
    if seeds.shape[1] < 3 or found.pairs.broken:
        return None
    return improvement(*seeds), *improvement_interval(*seeds)


def _power(found: Contrast) -> Words:
    """Without a direction: what would have been missed on either side, and how many units would settle it."""
    half = found.half_missed
    if half is None:
        return {}
    unit = "seeds" if found.evidence.by_seeds else found.pairs.kind
    size = wording.quantity(abs(half), "difference", found.points)
    shown = {lang: said.lstrip("+") for lang, said in size.items()}
    missed = wording.missed_half(wording.count(found.evidence.units, unit), "difference", shown)
    wanted = found.units_for(found.figure)
    if wanted is None or wanted <= found.evidence.units:
        return missed
    figure = wording.quantity(found.figure, "difference", found.points)
    return wording.join(missed, wording.would_settle("difference", figure, wanted, unit))


def _quantity(line: Line, value: float, noun: str) -> Words:
    return wording.quantity(value, noun, line.points)


def _one(comparison: Comparison, line: Line) -> Words:
    a, b = plain(comparison.first), plain(comparison.second)
    mean_a, mean_b = (_quantity(line, value, "mean") for value in (line.first, line.second))
    behind = wording.count(line.n, line.unit)
    opening = {
        "en": f"{line.name}: {a} has {mean_a['en']}, {b} has {mean_b['en']}, over the same {behind['en']}.",
        "ja": f"{line.name}：同じ {behind['ja']}で {a} は {mean_a['ja']}、{b} は {mean_b['ja']}。",
    }
    if line.interval is None or line.p is None:
        return wording.join(opening, line.notes)
    size = _quantity(line, abs(line.difference), "difference")
    size = {lang: said.lstrip("+") for lang, said in size.items()}
    low, high = (_quantity(line, end, "difference") for end in line.interval)
    span = {
        "en": f"difference 95 % {low['en']} to {high['en']}, {wording.chance(line.p)}",
        "ja": f"差の 95 % 区間 {low['ja']}～{high['ja']}、{wording.chance(line.p)}",
    }
    answers = {
        "higher": (f"{a} is higher by {size['en']}", f"{a} のほうが {size['ja']}だけ高い"),
        "lower": (f"{a} is lower by {size['en']}", f"{a} のほうが {size['ja']}だけ低い"),
        "not told apart": ("They cannot be told apart", "両者に差があるとは言えない"),
    }[line.told]
    answer = {"en": f"{answers[0]} ({span['en']}).", "ja": f"{answers[1]}（{span['ja']}）。"}
    over_seeds = None
    if line.improvement is not None:
        share, least, most = (f"{100 * value:.0f} %" for value in line.improvement)
        over_seeds = {
            "en": f"A run of {a} is higher than a run of {b} with probability {share} (95 % {least} to {most}).",
            "ja": f"{a} の 1 回の実行が {b} の 1 回の実行より高い確率は {share}（95 % 区間 {least}～{most}）。",
        }
    return wording.join(opening, answer, over_seeds, line.power if line.told == "not told apart" else None, line.notes)


def _many(comparison: Comparison) -> Words:
    a, b = plain(comparison.first), plain(comparison.second)
    by = {told: [line.name for line in comparison.lines if line.told == told] for told in TOLD}
    en = [f"{TOLD[told]['en']} on {len(names)} ({', '.join(names)})" for told, names in by.items() if names]
    ja = [f"{TOLD[told]['ja']}ものが {len(names)} 件（{'、'.join(names)}）" for told, names in by.items() if names]
    n = len(comparison.lines)
    return {
        "en": f"Of {n} measures, after Holm, {a} against {b} is {'; '.join(en)}.",
        "ja": f"{n} 個の指標を Holm 法で補正して比べると、{a} は {b} に対して、{'、'.join(ja)}。",
    }


TOLD: dict[str, Words] = {
    "higher": {"en": "higher", "ja": "高い"},
    "lower": {"en": "lower", "ja": "低い"},
    "not told apart": {"en": "not told apart", "ja": "差があるとは言えない"},
    "cannot be judged": {"en": "not to be judged", "ja": "判定できない"},
}
HEADS = {
    "en": ("measure", "A", "B", "A − B", "95 %", "A > / = / < B", "p", "p (Holm)", "n", "A is"),
    "ja": ("指標", "A", "B", "A − B", "95 % 区間", "A > / = / < B", "p", "p（Holm）", "n", "A は"),
}
