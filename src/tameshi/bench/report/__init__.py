"""A run as one self-contained HTML page: verdicts, the values behind them, plots, tables, environment, how to repeat it.

No script, no request, nothing outside the file. Foreign text (names of models, methods, files, messages of errors) is made
harmless by `doors.screen.plain` and escaped by the template.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from tameshi.bench.report import plots
from tameshi.bench.report.words import WORDS
from tameshi.bench.result import Result, figure
from tameshi.bench.shelf import built, stand
from tameshi.bench.store import Mean, shown
from tameshi.bench.verdicts import Verdict
from tameshi.doors.screen import plain
from tameshi.nouns import OutOfReach, Rule

MOST_ROWS = 12  # of each method and condition that are drawn; the means are over all
MOST_LINES = 400  # of the table of measurements


def render(result: Result, *, lang: str = "en") -> str:
    """The page.

    Args:
        result: of a stored run.
        lang: "en" or "ja".
    """
    from tameshi.catalogue import papers

    words = WORDS[lang]
    run = result.run
    paper = papers().get(run.slug)
    shelf = stand(run.slug) if run.slug in built() else None
    rules = {rule.claim: rule for rule in (shelf.rules if shelf else ())}
    most = MOST_ROWS if run.row_count > 20_000 else None
    rows = plots.harmless(result.sample(most) if most else result.rows)
    claims = [c.id for c in paper.claims] if paper else sorted(result.verdicts)
    cards = []
    for claim_id in claims:
        claim = paper.claim(claim_id) if paper else None
        verdict = result.verdicts.get(claim_id)
        cards.append(
            {
                "id": claim_id,
                "statement": claim.statement[lang] if claim else "",
                "paper": claim.figure[lang] if claim else "",
                "conditions": claim.conditions[lang] if claim else "",
                "verdict": verdict,
                "outcome": words[verdict.outcome] if verdict else words["not judged"],
                "kind": verdict.outcome.replace(" ", "-") if verdict else "none",
                "figure": figure(verdict) if verdict else "–",
                "told": _told(verdict, lang) if verdict else {},
                "parts": _parts(verdict, lang) if verdict else [],
                "strip": Markup(plots.strips(rules[claim_id], rows, lang)) if claim_id in rules and verdict else "",
                "change": what_would_change(verdict, rules.get(claim_id), lang) if verdict else "",
            }
        )
    figures = [(f.title[lang], *plots.drawn(f, rows, words)) for f in (shelf.figures if shelf else ())]
    facts = {"subjects": {}, "options": {}, **run.facts}
    busy = plots.busy_share(rows)
    page = _environment().get_template("report.html")
    return page.render(
        lang=lang,
        words=words,
        paper=paper,
        title=paper.heading(lang) if paper else run.slug,
        run=run,
        command=shlex.join(facts.get("command") or ["tameshi", "check", run.slug]),
        tally=Counter(words[v.outcome] for v in result.verdicts.values()),
        cards=cards,
        figures=[(title, Markup(svg), problem) for title, svg, problem in figures],
        pareto=Markup(plots.pareto(result.means, rules, lang)),
        lines=_lines(result.means),
        left_out=max(0, len(result.means) - MOST_LINES),
        errors=result.errors,
        facts=facts,
        busy=busy,
        drawn_most=most,
        scales=_scales(facts),
    )


def what_would_change(verdict: Verdict, rule: Rule | None, lang: str) -> str:
    """One sentence: what would have to be seen, or done, for another verdict."""
    words = WORDS[lang]
    if verdict.outcome == "out of reach here":
        option = rule.option if isinstance(rule, OutOfReach) else ""
        return words["change out of reach"].format(option=option) if option else ""
    if verdict.outcome == "blind":
        named = ", ".join(c for c, outcome in verdict.controls.items() if outcome == "holds")
        return words["change blind"].format(controls=named or "–")
    power = verdict.power.get(lang, "")
    return f"{words[f'change {verdict.outcome}']} {power}".strip()


def _told(verdict: Verdict, lang: str) -> dict[str, str]:
    words = WORDS[lang]
    told = {
        words["reads"]: verdict.reads.get(lang, ""),
        words["why"]: verdict.why.get(lang, ""),
        words["n"]: f"{verdict.n} {words.get(verdict.unit, verdict.unit)}" if verdict.n else "",
        words["p"]: _p(verdict),
        words["controls"]: ", ".join(f"{c}: {words.get(o, o)}" for c, o in sorted(verdict.controls.items())),
        words["power"]: verdict.power.get(lang, ""),
    }
    return {name: text for name, text in told.items() if text}


def _p(verdict: Verdict) -> str:
    if verdict.p is None:
        return ""
    return f"{verdict.p:.2g}" if verdict.p_holm is None else f"{verdict.p:.2g} (Holm {verdict.p_holm:.2g})"


def _parts(verdict: Verdict, lang: str) -> list[dict[str, str]]:
    """The parts of a verdict, innermost first, for a small table under the card."""
    found = []
    for part in verdict.parts:
        inner = _parts(part, lang)
        found += inner or [
            {
                "reads": part.reads.get(lang, ""),
                "figure": figure(part),
                "outcome": WORDS[lang][part.outcome],
                "kind": part.outcome.replace(" ", "-"),
            }
        ]
    return found


def _lines(means: Sequence[Mean]) -> list[dict[str, str]]:
    lines = []
    for m in means[:MOST_LINES]:
        lines.append(
            {
                "check": m.check,
                "method": m.method,
                "conditions": shown(m.conditions),
                "metric": m.metric,
                "mean": "–" if m.mean is None else f"{m.mean:.4g}",
                "n": f"{m.n:,}" + (f" (−{m.missing:,})" if m.missing else ""),
                "seconds": f"{m.cpu_seconds:.2f}",
                "memory": "–" if m.peak_bytes is None else f"{m.peak_bytes / 2**20:,.0f}",
            }
        )
    return lines


def _scales(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Environment as pairs of words."""
    machine = facts.get("machine", {})
    memory = machine.get("memory_bytes")
    pairs = [
        ("system", machine.get("system")),
        ("processor", f"{machine.get('processor')}, {machine.get('cores')} cores"),
        ("memory", f"{memory / 2**30:.0f} GiB" if memory else None),
        ("GPU", machine.get("gpu")),
        ("device", facts.get("device")),
        ("dtype", facts.get("dtype")),
        *sorted(facts.get("versions", {}).items()),
    ]
    return [(name, str(value)) for name, value in pairs if value]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tameshi.bench.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else plain(value, longest=4_000),
    )
    environment.filters["plain"] = plain
    return environment
