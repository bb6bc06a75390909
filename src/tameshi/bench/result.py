"""What comes back from a check: rows, verdicts, and the ways to look at them."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tameshi.bench.store import Mean, Run, Store, shown
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
        verdicts: claim -> verdict; empty if the run was stopped before its end.
        means: for every method, condition and metric the mean.
        errors: one line for each measurement that did not end well (at most 100).
        store: path of the store that holds it.
    """

    run: Run
    verdicts: Mapping[str, Verdict]
    means: Sequence[Mean]
    errors: Sequence[str]
    store: Path

    @classmethod
    def of(cls, store: Store, run_id: str) -> Result:
        """Read a stored run; its rows are read when they are first asked for."""
        run = store.run(run_id)
        verdicts = {claim: from_json(v) for claim, v in run.verdicts.items()}
        return cls(run, verdicts, store.means(run.id), store.errors(run.id), store.path)

    @cached_property
    def rows(self) -> Rows:
        """All rows with all their values."""
        with Store(self.store, make=False) as store:
            return store.rows(self.run.id)

    def sample(self, most: int) -> Rows:
        """Of each method and condition at most so many rows, those of the first seeds: enough to draw."""
        with Store(self.store, make=False) as store:
            return store.rows(self.run.id, most=most)

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
        for m in self.means:
            words = (m.check, m.method, shown(m.conditions), m.metric)
            mean = "missing" if m.mean is None else f"{m.mean:.4g}"
            table.add_row(*(Text(plain(t)) for t in words), mean, str(m.n), f"{m.cpu_seconds:.2f}")
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
        return {
            "run": self.run.id,
            "paper": self.run.slug,
            "status": self.run.status,
            "rows": self.run.row_count,
            "errors": list(self.errors),
            "verdicts": {claim: to_json(v) for claim, v in sorted(self.verdicts.items())},
            "measurements": [dataclasses.asdict(m) for m in self.means],
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


def figure(verdict: Verdict) -> str:
    """A verdict's figure with its interval, as it stands in tables."""
    if verdict.figure is None:
        return "–"
    if verdict.interval is None:
        return _short(verdict.figure)
    return f"{_short(verdict.figure)} [{_short(verdict.interval[0])}, {_short(verdict.interval[1])}]"


def named(subject: Any) -> str:
    """The name of a subject, or of several, for people."""
    if isinstance(subject, Mapping):
        return ", ".join(f"{name}={value}" for name, value in subject.items())
    return ", ".join(map(str, subject)) if isinstance(subject, (list, tuple)) else str(subject)


def _short(number: float) -> str:
    """Three digits; what is nothing but rounding is 0."""
    return "0" if abs(number) < 1e-12 else f"{number:.3g}"


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
