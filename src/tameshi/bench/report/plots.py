"""The plots of the report, as SVG whose text stays text, so that Japanese draws in whatever font the reader has."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tameshi.bench.report.words import WORDS
from tameshi.bench.store import Mean, shown
from tameshi.doors.screen import plain
from tameshi.nouns import (
    AllOf,
    Beats,
    Correlates,
    Figure,
    Orders,
    OutOfReach,
    Reaches,
    Row,
    Rows,
    Rule,
    Within,
)

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tameshi",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e2dc",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.edgecolor": "#8a877f",
    "axes.labelcolor": "#33322e",
    "text.color": "#33322e",
    "xtick.color": "#5b5953",
    "ytick.color": "#33322e",
    "font.size": 9.5,
    "font.family": "sans-serif",
    "axes.prop_cycle": None,
    "figure.constrained_layout.use": True,
    "savefig.transparent": True,
}
COLOURS = ("#1f6f8b", "#c8553d", "#6b8f3c", "#8d5a97", "#c79a2b", "#4a5a8a", "#7a7a7a", "#2a9d8f", "#b56576", "#555555")
FONTS = "'Hiragino Sans', 'Noto Sans CJK JP', 'Noto Sans JP', 'Yu Gothic', Meiryo, system-ui, sans-serif"
MOST_POINTS = 240  # a method; more would hide each other and swell the file


@contextmanager
def style() -> Iterator[None]:
    """Our look for everything that is drawn meanwhile."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context({**STYLE, "axes.prop_cycle": cycler(color=COLOURS)}):
        yield


def svg(figure: Any) -> str:
    """A matplotlib figure as an `<svg>` element for a page: as wide as its place, text as text."""
    out = io.StringIO()
    with warnings.catch_warnings():
        # text stays text and is drawn by the reader's own font, so a glyph that our font lacks is not missing
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    width = 1.3 * 72 * figure.get_figwidth()
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 style="width: 100%; max-width: {width:.0f}px"', text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(r"(font(?:-family)?:[^;\"]*?)(?:sans-serif|'DejaVu Sans'[^;\"]*)", rf"\1{FONTS}", text)


def harmless(rows: Rows) -> Rows:
    """The same rows with names that can be drawn: method, condition and metric names may have come from elsewhere."""

    def clean(row: Row) -> Row:
        conditions = {plain(k): plain(v, longest=80) if isinstance(v, str) else v for k, v in row.conditions.items()}
        values = {plain(k, longest=80): v for k, v in row.values.items()}
        return replace(row, method=plain(row.method, longest=80), conditions=conditions, values=values)

    return Rows(clean(row) for row in rows)


def drawn(figure: Figure, rows: Rows, words: Mapping[str, str]) -> tuple[str, str]:
    """A paper's plot as SVG, or "" and the reason why there is none."""
    with style():
        try:
            made = figure.function(rows)
            return ("", "") if made is None else (svg(made), "")
        except (
            Exception
        ) as error:  # a plot that cannot be drawn must not take the report with it; it is said in its place
            return "", f"{words['not drawn']}: {type(error).__name__}: {error}"


def behind(rule: Rule) -> list[Rule]:
    """The rules that compare something, within a rule of several parts."""
    if isinstance(rule, AllOf):
        return [inner for part in rule.rules for inner in behind(part)]
    if isinstance(rule, OutOfReach):
        return behind(rule.then) if rule.then else []
    return [rule]


def strips(rule: Rule, rows: Rows, lang: str) -> str:
    """For every comparison of a rule a strip per method: its items or seeds as points, mean and interval over them."""
    panels: list[tuple[str, list[tuple[str, str, list[float]]], float | None]] = []
    for part in behind(rule):
        for level, chosen in _levels(part, rows):
            lines = []
            for method, role in _roles(part):
                numbers = _numbers(chosen, method, part)
                if numbers:
                    lines.append((method, role, numbers))
            target = part.target if isinstance(part, Reaches) and isinstance(part.target, float) else None
            if lines:
                metric = str(getattr(part, "metric", ""))
                panels.append((f"{metric}  {level}".strip(), lines, target))
    panels = panels[:6]
    if not panels:
        return ""
    from matplotlib.figure import Figure as Canvas

    with style():
        heights = [0.55 + 0.3 * len(lines) for _, lines, _ in panels]
        canvas = Canvas(figsize=(6.4, sum(heights) + 0.2))
        axes = canvas.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, (title, lines, target) in zip(axes, panels, strict=True):
            _strip(ax, title, lines, target)
        return svg(canvas)


def _strip(ax: Any, title: str, lines: Sequence[tuple[str, str, list[float]]], target: float | None) -> None:
    from scipy import stats

    colours = {"method": COLOURS[0], "baseline": COLOURS[1], "control": "#9a978f", "reference": COLOURS[2]}
    for place, (_, role, numbers) in enumerate(reversed(lines)):
        finite = [v for v in numbers if math.isfinite(v)]
        if not finite:
            continue
        step = max(1, len(finite) // MOST_POINTS)
        shown_points = sorted(finite)[::step]
        offsets = [
            place + 0.26 * math.sin(12.9898 * i) for i in range(len(shown_points))
        ]  # spread, and the same each time
        ax.plot(shown_points, offsets, "o", ms=2.6, alpha=0.4, mew=0, color=colours[role], rasterized=False)
        mean = math.fsum(finite) / len(finite)
        if len(finite) > 1:
            spread = math.sqrt(math.fsum((v - mean) ** 2 for v in finite) / (len(finite) - 1) / len(finite))
            half = float(stats.t.ppf(0.975, len(finite) - 1)) * spread
            ax.plot([mean - half, mean + half], [place, place], "-", lw=2.2, color=colours[role], solid_capstyle="butt")
        ax.plot([mean], [place], "|", ms=13, mew=2.4, color=colours[role])
    if target is not None:
        ax.axvline(target, color="#33322e", lw=0.9, ls=(0, (4, 3)))
    ax.set_yticks(range(len(lines)), [plain(name, longest=36) for name, _, _ in reversed(lines)])
    ax.set_ylim(-0.6, len(lines) - 0.4)
    ax.grid(visible=False, axis="y")
    ax.set_title(plain(title, longest=80), loc="left", fontsize=9.5)


def _levels(rule: Rule, rows: Rows) -> list[tuple[str, Rows]]:
    """The rows of each value of the rule's conditions, with a name."""
    mine = rows.where(rule.where, check=rule.check)
    base = rows.where(check=rule.check)
    found: list[tuple[dict[str, Any], Rows]] = [(dict(rule.where), mine)]
    for name in rule.each:
        found = [({**level, name: v}, part.where({name: v})) for level, part in found for v in part.levels(name)]
    return [(shown(level), Rows(r for r in base if _fits(r, level))) for level, _ in found]


def _fits(row: Row, level: Mapping[str, Any]) -> bool:
    return all(row.conditions.get(name, value) == value for name, value in level.items())


def _roles(rule: Rule) -> list[tuple[str, str]]:
    found = [(str(getattr(rule, "method", "")), "method")]
    if isinstance(rule, Beats):
        baselines = (rule.baseline,) if isinstance(rule.baseline, str) else rule.baseline
        found += [(name, "baseline") for name in baselines]
        found += [(rule.gap_to, "reference")] if rule.gap_to else []
    elif isinstance(rule, Reaches) and isinstance(rule.target, str):
        found.append((rule.target, "reference"))
    elif isinstance(rule, Within):
        found.append((rule.reference, "reference"))
    found += [(name, "control") for name in rule.control if name not in {n for n, _ in found}]
    return found


def _numbers(rows: Rows, method: str, rule: Rule) -> list[float]:
    if isinstance(rule, Orders | Beats | Reaches | Within | Correlates):
        chosen = rows.where(method=method, metric=rule.metric)
        if rule.unit == "seed":
            return [
                Rows(r for r in chosen if r.seed == seed).mean(rule.metric) for seed in sorted({r.seed for r in chosen})
            ]
        return chosen.numbers(rule.metric)
    return []


def pareto(means: Sequence[Mean], rules: Mapping[str, Rule], lang: str) -> str:
    """Cost against quality for the metric that most rules read: CPU seconds of a measurement, and its mean."""
    parts = [part for rule in rules.values() for part in behind(rule) if isinstance(part, Beats | Reaches | Within)]
    named = [(part.check, part.metric, part.better) for part in parts]
    if not named:
        return ""
    check, metric, better = max(named, key=named.count)
    chosen = [m for m in means if m.metric == metric and check in (None, m.check) and m.mean is not None]
    chosen = [m for m in chosen if m.cpu_seconds > 0 and math.isfinite(m.mean or math.nan)][:200]
    if len({m.method for m in chosen}) < 2:
        return ""
    from matplotlib.figure import Figure as Canvas

    with style():
        canvas = Canvas(figsize=(6.4, 3.6))
        ax = canvas.subplots()
        methods = sorted({m.method for m in chosen})
        for method, colour in zip(methods, COLOURS * (1 + len(methods) // len(COLOURS)), strict=False):
            own = [m for m in chosen if m.method == method]
            ax.plot(
                [m.cpu_seconds for m in own],
                [m.mean or 0.0 for m in own],
                "o",
                ms=5,
                color=colour,
                label=plain(method, longest=30),
            )
        front = _front([(m.cpu_seconds, m.mean or 0.0) for m in chosen], better)
        ax.plot([x for x, _ in front], [y for _, y in front], "-", lw=0.9, color="#8a877f", zorder=0)
        if all(m.cpu_seconds > 0 for m in chosen):
            ax.set_xscale("log")
        ax.set_xlabel(WORDS[lang]["seconds axis"])
        ax.set_ylabel(plain(metric, longest=60))
        ax.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5, ncols=1 + len(methods) // 14
        )
        return svg(canvas)


def _front(points: Sequence[tuple[float, float]], better: str) -> list[tuple[float, float]]:
    """The points that no other point beats in cost and quality, from cheap to costly."""
    sign = 1.0 if better == "higher" else -1.0
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda p: (p[0], -sign * p[1])):
        if not front or sign * y > sign * front[-1][1]:
            front.append((x, y))
    return front


def busy_share(rows: Rows) -> float | None:
    """Share of the processors that other work held while this was measured, weighted by time; None if unknown."""
    known = [(row.cost.busy, row.cost.wall_seconds) for row in rows if row.cost.busy is not None]
    total = math.fsum(seconds for _, seconds in known)
    return math.fsum(share * seconds for share, seconds in known) / total if total > 0 else None
