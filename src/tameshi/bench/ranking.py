"""Several models at once: all pairs with Holm, and a picture of which cannot be told apart."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tameshi.bench.compare import FIRST, SECOND, TOLD, Line, measure_line, relabelled, told_apart
from tameshi.bench.sources import NotComparable, named_apart, read
from tameshi.bench.statistics import holm
from tameshi.bench.wording import chance, number
from tameshi.doors.screen import plain
from tameshi.nouns.rows import Row, Rows, Scalar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


@dataclass(frozen=True)
class Ranking:
    """Models on one measure, highest mean first.

    Args:
        measure: the metric and its conditions.
        names: the models.
        means: of each, over its own items.
        pairs: (place, later place) -> what can be said of the two after Holm over all pairs.
    """

    measure: str
    names: tuple[str, ...]
    means: tuple[float, ...]
    pairs: Mapping[tuple[int, int], Line]

    def groups(self) -> list[tuple[int, int]]:
        """Runs of neighbours (first place, last place) of which no two can be told apart; the longest only."""
        found: list[tuple[int, int]] = []
        for start in range(len(self.names)):
            end = start
            while end + 1 < len(self.names) and all(
                self.pairs[i, end + 1].told not in ("higher", "lower") for i in range(start, end + 1)
            ):
                end += 1
            if end > start and not any(a <= start and end <= b for a, b in found):
                found.append((start, end))
        return found

    def sentence(self, lang: str = "en") -> str:
        """Who is highest, who cannot be told from it, and how many pairs differ."""
        equals = [plain(self.names[j]) for j in range(1, len(self.names)) if self.pairs[0, j].told == "not told apart"]
        differ = sum(line.told in ("higher", "lower") for line in self.pairs.values())
        first, mean = plain(self.names[0]), number(self.means[0])
        if lang == "ja":
            tied = f"{'、'.join(equals)} とは差があるとは言えない" if equals else "他のすべてより高い"
            pairs = f"{len(self.pairs)} 組のうち {differ} 組に差がある（Holm 法で補正）"
            return f"{plain(self.measure)} が最も高いのは {first}（{mean}）で、{tied}。{pairs}。"
        tied = f"{', '.join(equals)} cannot be told from it" if equals else "it is higher than all others"
        pairs = f"{differ} of {len(self.pairs)} pairs differ after Holm"
        return f"{first} has the highest {plain(self.measure)} ({mean}); {tied}. {pairs}."

    def to_json(self) -> dict[str, Any]:
        """All of it, for `--json`."""
        pairs = [{"a": i, "b": j, **dataclasses.asdict(line)} for (i, j), line in self.pairs.items()]
        return {
            "measure": self.measure,
            "names": self.names,
            "means": self.means,
            "pairs": pairs,
            "groups": self.groups(),
        }

    def table(self, lang: str = "en") -> Table:
        """All pairs, as a Rich table."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(plain(self.measure)), title_justify="left")
        for head in ("A", "B", "A − B", "95 %", "p (Holm)", {"en": "A is", "ja": "A は"}[lang]):
            table.add_column(head, overflow="fold")
        for (i, j), line in self.pairs.items():
            ends = "–" if line.interval is None else f"{number(line.interval[0])} … {number(line.interval[1])}"
            p = "–" if line.p_holm is None else chance(line.p_holm).removeprefix("p = ").removeprefix("p ")
            names = (Text(plain(self.names[i])), Text(plain(self.names[j])))
            table.add_row(*names, number(line.difference, signed=True), ends, p, TOLD[line.told][lang])
        return table

    def figure(self) -> Figure:
        """The critical-difference picture: models along their means, a bar over those that cannot be told apart.

        Demšar 2006 (JMLR 7:1) draws mean ranks over data sets with Nemenyi's difference; here the items are paired, so
        the pairs are tested themselves and the bars follow Holm.
        """
        from matplotlib.figure import Figure

        n = len(self.names)
        groups = self.groups()
        figure = Figure(figsize=(8, 1.4 + 0.2 * n + 0.1 * len(groups)))
        axes = figure.add_axes((0.36, 0.05, 0.28, 0.7))  # names stand on both sides of it
        highest, lowest = max(self.means), min(self.means)
        margin = 0.08 * (highest - lowest or 1.0)
        axes.set_xlim(highest + margin, lowest - margin)  # the highest stands left
        above = 0.5 * len(groups) + 0.5
        for place, (name, mean) in enumerate(zip(self.names, self.means, strict=True)):
            left = place < (n + 1) // 2
            depth = -above - (place if left else n - 1 - place)
            edge = highest + margin if left else lowest - margin
            axes.plot([mean, mean, edge], [0, depth, depth], color="0.3", linewidth=0.8, clip_on=False)
            label = (
                f"{plain(name, longest=36)}  {number(mean)}" if left else f"{number(mean)}  {plain(name, longest=36)}"
            )
            side = "right" if left else "left"
            axes.annotate(
                label,
                (edge, depth),
                (-4 if left else 4, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8,
            )
        for level, (start, end) in enumerate(groups, start=1):
            axes.plot([self.means[start], self.means[end]], [-0.5 * level] * 2, color="black", linewidth=3.5)
        axes.set_ylim(-above - (n + 1) // 2, 0)
        axes.spines[["left", "right", "bottom"]].set_visible(False)
        axes.xaxis.tick_top()
        axes.tick_params(labelsize=8)
        axes.set_yticks([])
        figure.suptitle(plain(self.measure), fontsize=10)
        return figure


def rank(addresses: Sequence[str | Path], *, metric: str | None = None, check: str | None = None) -> Ranking:
    """Hold several results against each other on one measure.

    Args:
        addresses: three or more runs or logs (or two), each with one method; or one run, whose methods are compared.
        metric, check: which measure; needed where they have several in common.

    Raises:
        NotComparable: no measure, or several, in common; or two that share no item.
    """
    sources = [read(address) for address in addresses]
    called = named_apart(sources)
    models: dict[str, list[Row]] = {}
    for source, label in zip(sources, called, strict=True):
        methods = source.rows.methods
        if len(sources) > 1 and len(methods) != 1:
            raise NotComparable(f"{source.name} holds several methods ({', '.join(methods)}); rank takes one from each")
        for method in methods:
            name = method if len(sources) == 1 else label
            models[name] = relabelled(source.rows, method, name)
    if len(models) < 2:
        raise NotComparable("a ranking takes at least two models of different names")
    found_check, found_metric, conditions = _measure(models, metric, check)
    means = {name: _mean(rows, found_check, found_metric, conditions) for name, rows in models.items()}
    names = sorted(models, key=lambda name: (-means[name], name))
    lines: dict[tuple[int, int], Line] = {}
    for i, j in itertools.combinations(range(len(names)), 2):
        both = [_as(row, FIRST) for row in models[names[i]]] + [_as(row, SECOND) for row in models[names[j]]]
        line = measure_line(both, found_check, found_metric, conditions)
        if line is None:
            raise NotComparable(f"{names[i]} and {names[j]} share no item of {found_check}")
        lines[i, j] = line
    adjusted = holm({f"{i} {j}": line.p for (i, j), line in lines.items() if line.p is not None})
    told = {
        (i, j): told_apart(line, adjusted[f"{i} {j}"]) if line.p is not None else line for (i, j), line in lines.items()
    }
    under = ", ".join(f"{k} = {v}" for k, v in conditions.items())
    measure = f"{found_check}: {found_metric}" + (f" ({under})" if under else "")
    return Ranking(measure, tuple(names), tuple(means[name] for name in names), told)


def _measure(
    models: Mapping[str, Sequence[Row]], metric: str | None, check: str | None
) -> tuple[str, str, Mapping[str, Scalar]]:
    """The one measure that all models have."""
    held = [
        {
            (row.check, name, tuple(sorted(row.conditions.items())))
            for row in rows
            for name in row.values
            if metric in (None, name) and check in (None, row.check)
        }
        for rows in models.values()
    ]
    common = sorted(set.intersection(*held), key=str)
    if not common:
        raise NotComparable("no measure is common to all; name the metric, or compare two at a time")
    if len(common) > 1:
        shown = "; ".join(f"{name} of {of}" + (f" at {dict(at)}" if at else "") for of, name, at in common[:4])
        raise NotComparable(f"{len(common)} measures are common to all ({shown}); name one with --metric")
    found_check, found_metric, conditions = common[0]
    return found_check, found_metric, dict(conditions)


def _mean(rows: Sequence[Row], check: str, metric: str, conditions: Mapping[str, Scalar]) -> float:
    return Rows(rows).where(conditions, check=check, metric=metric).mean(metric)


def _as(row: Row, name: str) -> Row:
    return replace(row, method=name)
