"""What comes back from a check: rows, verdicts, and the ways to look at them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tameshi.bench.store import Run
from tameshi.bench.verdicts import Verdict, from_json, to_json
from tameshi.doors.screen import plain
from tameshi.nouns import Items, Missing, Rows

if TYPE_CHECKING:
    import pandas
    from rich.table import Table

COLOURS = {"holds": "green", "fails": "red", "inconclusive": "yellow", "blind": "magenta", "out of reach here": "dim"}


@dataclass(frozen=True)
class Result:
    """A run with its rows and verdicts.

    Args:
        run: the stored run.
        rows: all of its rows.
        verdicts: claim -> verdict; empty if the run was stopped before its end.
        store: path of the store that holds it.
    """

    run: Run
    rows: Rows
    verdicts: Mapping[str, Verdict]
    store: Path

    @classmethod
    def of(cls, run: Run, rows: Rows, store: Path) -> Result:
        """Put together what the store holds."""
        return cls(run, rows, {claim: from_json(v) for claim, v in run.verdicts.items()}, store)

    @property
    def errors(self) -> list[str]:
        """One line for each measurement that did not end well."""
        return [
            f"{row.method} {_conditions(row.conditions)} seed {row.seed}: {row.error}" for row in self.rows if row.error
        ]

    def table(self, claims: Mapping[str, str] | None = None, *, lang: str = "en") -> Table:
        """The verdicts as a Rich table.

        Args:
            claims: claim id -> statement, to stand beside the verdict.
            lang: "en" or "ja".
        """
        from rich.table import Table
        from rich.text import Text

        words = WORDS[lang]
        table = Table(title=Text(f"{plain(self.run.slug)} · {plain(self.run.id)}"), title_justify="left")
        for column in ("claim", "verdict", "figure", "n", "why"):
            table.add_column(words[column], overflow="fold")
        for claim, verdict in sorted(self.verdicts.items()):
            told = plain(verdict.why[lang])
            if claims and claim in claims:
                told = f"{plain(claims[claim])}\n{told}"
            table.add_row(
                claim,
                Text(words.get(verdict.outcome, verdict.outcome), style=COLOURS[verdict.outcome]),
                figure(verdict),
                f"{verdict.n} {words.get(verdict.unit, verdict.unit)}" if verdict.n else "–",
                Text(told),
            )
        return table

    def measurements(self) -> Table:
        """Every method under every condition with the mean of each metric over seeds and items, as a Rich table."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title_justify="left")
        for column in ("check", "method", "conditions", "metric", "mean", "n", "CPU s"):
            table.add_column(column, overflow="fold", justify="right" if column in {"mean", "n", "CPU s"} else "left")
        for (check, method, conditions), rows in groups(self.rows).items():
            seconds = sum(row.cost.cpu_seconds for row in rows) / len(rows)
            for metric in sorted({name for row in rows for name in row.values}):
                numbers = rows.numbers(metric)
                shown = f"{rows.mean(metric):.4g}" if numbers else "missing"
                table.add_row(
                    *(Text(plain(t)) for t in (check, method, conditions, metric)),
                    shown,
                    str(len(numbers)),
                    f"{seconds:.2f}",
                )
        return table

    def to_pandas(self) -> pandas.DataFrame:
        """One line per value: check, method, conditions, seed, block, metric, item, value (NaN with a reason where missing)."""
        import pandas

        lines: list[dict[str, Any]] = []
        for row in self.rows:
            about = {"check": row.check, "method": row.method, **row.conditions, "seed": row.seed, "block": row.block}
            for metric, value in row.values.items():
                items = value if isinstance(value, Items) else Items((value,), ("",))
                for item, number in zip(items.ids, items.values, strict=True):
                    missing = number.reason if isinstance(number, Missing) else None
                    lines.append(
                        about
                        | {
                            "metric": metric,
                            "item": item,
                            "value": float("nan") if missing else number,
                            "missing": missing,
                        }
                    )
        return pandas.DataFrame(lines)

    def to_json(self) -> dict[str, Any]:
        """Run, verdicts and the mean of every metric, for `--json`."""
        means = [
            {
                "check": check,
                "method": method,
                "conditions": dict(rows[0].conditions),
                "means": {m: rows.mean(m) for m in sorted({n for r in rows for n in r.values}) if rows.numbers(m)},
                "cpu_seconds": sum(r.cost.cpu_seconds for r in rows),
            }
            for (check, method, _), rows in groups(self.rows).items()
        ]
        return {
            "run": self.run.id,
            "paper": self.run.slug,
            "status": self.run.status,
            "rows": self.run.row_count,
            "errors": self.errors,
            "verdicts": {claim: to_json(v) for claim, v in sorted(self.verdicts.items())},
            "measurements": means,
            **self.run.facts,
        }

    def report(self, path: str | Path, *, lang: str = "en") -> Path:
        """Write the run as one self-contained HTML file."""
        from tameshi.bench.report import render
        from tameshi.doors.files import write

        return write(path, render(self, lang=lang))

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<tr><td>{html.escape(claim)}</td><td><b>{html.escape(v.outcome)}</b></td>"
            f"<td>{html.escape(figure(v))}</td><td>{html.escape(plain(v.why['en']))}</td></tr>"
            for claim, v in sorted(self.verdicts.items())
        )
        head = "<tr><th>claim</th><th>verdict</th><th>figure</th><th>why</th></tr>"
        return f"<table><caption>{html.escape(plain(self.run.id))}</caption>{head}{lines}</table>"


def groups(rows: Rows) -> dict[tuple[str, str, str], Rows]:
    """Rows that differ only in seed and block together, in the order of their keys."""
    found: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows:
        if row.error is None:
            found.setdefault((row.check, row.method, _conditions(row.conditions)), []).append(row)
    return {key: Rows(rows) for key, rows in found.items()}


def figure(verdict: Verdict) -> str:
    """A verdict's figure with its interval, as it stands in tables."""
    if verdict.figure is None:
        return "–"
    if verdict.interval is None:
        return f"{verdict.figure:.3g}"
    return f"{verdict.figure:.3g} [{verdict.interval[0]:.3g}, {verdict.interval[1]:.3g}]"


def _conditions(conditions: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(conditions.items()))


WORDS = {
    "en": {"claim": "claim", "verdict": "verdict", "figure": "figure", "n": "n", "why": "why"},
    "ja": {
        "claim": "主張",
        "verdict": "判定",
        "figure": "値",
        "n": "n",
        "why": "理由",
        "holds": "成立",
        "fails": "不成立",
        "inconclusive": "判定できず",
        "blind": "測れていない",
        "out of reach here": "ここでは検証不可",
        "items": "項目",
        "seeds": "シード",
        "groups": "群",
    },
}
