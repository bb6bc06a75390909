"""RESULTS.md: one line a claim with the paper's figure, ours, and the verdict, from stored runs and nothing else."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import dropwhile
from pathlib import Path

from tameshi.bench.exchange import read_record
from tameshi.bench.result import figure, named
from tameshi.bench.store import Run, Store
from tameshi.bench.verdicts import from_json
from tameshi.doors.screen import plain

HEAD = {
    "en": "# Results\n\nMade by `make results` from the stored runs; never edited by hand. A figure is ours, with its 95 % interval.\n",
    "ja": "# 結果\n\n`make results` が保存済みの実行記録から生成する。手では編集しない。「ここでの値」は本プロジェクトの測定値と95 %区間。\n",
}
COLUMNS = {
    "en": (
        "claim",
        "statement",
        "paper's figure",
        "ours",
        "what ours is",
        "n",
        "verdict",
        "what would have been missed",
    ),
    "ja": ("主張", "内容", "論文の値", "ここでの値", "値の意味", "n", "判定", "見逃しうる差"),
}


def newest(source: Path | None = None) -> dict[str, Run]:
    """The newest finished run of each paper, from the user's store or a folder of records."""
    if source is None:
        with Store(make=False) as store:
            runs = store.runs()
    else:
        if not source.is_dir():
            raise ValueError(
                f"{source} is no folder of records; `tameshi runs export RUN --record -o FILE.json` writes one"
            )
        runs = [read_record(file) for file in sorted(source.glob("*.json"))]
    found: dict[str, Run] = {}
    for run in sorted((run for run in runs if run.status == "finished"), key=lambda run: run.started):
        found[run.slug] = run
    return dict(sorted(found.items()))


def table(runs: Mapping[str, Run], *, lang: str = "en") -> str:
    """The runs as Markdown, a section a paper; papers without a run are named at the end.

    Args:
        runs: slug -> run, as `newest` gives them.
        lang: "en" or "ja".
    """
    from tameshi.bench.result import WORDS
    from tameshi.catalogue import papers

    shelf = papers()
    tally = Counter(v["outcome"] for run in runs.values() for v in run.verdicts.values())
    told = [f"{count} {WORDS[lang].get(outcome, outcome)}" for outcome, count in sorted(tally.items())]
    parts = [HEAD[lang], f"\n{', '.join(told)}.\n" if lang == "en" else f"\n{'、'.join(told)}。\n"]
    for slug, run in runs.items():
        paper = shelf[slug]
        parts.append(f"\n## {slug}: {_cell(paper.heading(lang))}\n\n{_about(run, lang)}\n\n")
        parts.append(_line(COLUMNS[lang]) + _line(["---"] * len(COLUMNS[lang])))
        for claim in paper.claims:
            if claim.id not in run.verdicts:
                parts.append(_line([claim.id, claim.statement[lang], claim.figure[lang], "–", "–", "–", "–", "–"]))
                continue
            v = from_json(run.verdicts[claim.id])
            outcome = f"**{WORDS[lang].get(v.outcome, v.outcome)}**"
            n = f"{v.n} {WORDS[lang].get(v.unit, v.unit)}" if v.n else "–"
            parts.append(
                _line(
                    [
                        claim.id,
                        claim.statement[lang],
                        claim.figure[lang],
                        figure(v),
                        v.reads.get(lang, "–"),
                        n,
                        outcome,
                        v.power.get(lang, "–"),
                    ]
                )
            )
    waiting = [slug for slug in shelf if slug not in runs]
    named = ", ".join(waiting)
    parts.append(
        f"\n## Not checked yet\n\n{len(waiting)} papers: {named}\n"
        if lang == "en"
        else f"\n## 未検証\n\n{len(waiting)}本: {named}\n"
    )
    return "".join(parts)


def _about(run: Run, lang: str) -> str:
    subjects = ", ".join(f"{name} = {_cell(named(s['name']))}" for name, s in run.facts.get("subjects", {}).items())
    subjects = subjects or {"en": "embedded subject", "ja": "内蔵の対象"}[lang]
    given = dropwhile(lambda word: not word.startswith("-"), run.facts.get("command", []))
    if options := [word for word in given if word != "--fresh"]:
        subjects += f", `{_cell(shlex.join(options))}`"
    seeds, versions = len(run.facts.get("seeds", [])), run.facts.get("versions", {})
    if lang == "ja":
        return f"実行 `{run.id}`（{run.row_count}行、シード{seeds}個、{subjects}、tameshi {versions.get('tameshi')}）。"
    return f"Run `{run.id}` ({run.row_count} rows, {seeds} {'seed' if seeds == 1 else 'seeds'}, {subjects}, tameshi {versions.get('tameshi')})."


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(_cell(c) for c in cells) + " |\n"


def _cell(text: object) -> str:
    return plain(text).replace("|", "\\|").strip()
