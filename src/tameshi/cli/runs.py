"""`tameshi runs`, `report`, `results`: what was run, as a list, as a page, as one table of all claims."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tameshi.bench.shelf import resolve
from tameshi.cli.screen import as_json, err, out
from tameshi.cli.shelf import language


def add_to(app: typer.Typer) -> None:
    """Hang the commands onto the command line."""
    group = typer.Typer(help="The runs in your store.", invoke_without_command=True, rich_markup_mode=None)
    group.callback()(runs)
    group.command("rm")(remove)
    group.command("export")(export)
    group.command("import")(import_)
    group.command("check")(verify)
    app.add_typer(group, name="runs")
    app.command()(report)
    app.command()(results)
    app.command()(compare)


def runs(
    context: typer.Context,
    paper: Annotated[str | None, typer.Option(help="only runs of this paper")] = None,
    limit: Annotated[int, typer.Option(help="how many, newest first")] = 20,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List the runs in your store, newest first."""
    from collections import Counter

    from rich.table import Table
    from rich.text import Text

    from tameshi.bench.result import named
    from tameshi.bench.store import Store
    from tameshi.doors.screen import plain

    if context.invoked_subcommand is not None:
        return
    with Store(make=False) as store:
        found = store.runs(resolve(paper) if paper else None, limit=limit)
        alive = {run.id for run in found if run.status == "running" and store.alive(run.id)}
    states = {run.id: "killed" if run.status == "running" and run.id not in alive else run.status for run in found}
    if json:
        as_json([{"id": r.id, "paper": r.slug, "status": states[r.id], "started": r.started, "finished": r.finished, "rows": r.row_count,
                  "errors": r.error_count, "verdicts": {c: v["outcome"] for c, v in r.verdicts.items()}, **r.facts} for r in found])  # fmt: skip
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "status", "started (UTC)", "rows", "subject", "verdicts"):
        table.add_column(name, overflow="fold", justify="right" if name == "rows" else "left")
    for run in found:
        outcomes = Counter(v["outcome"] for v in run.verdicts.values())
        subjects = ", ".join(named(s["name"]) for s in run.facts.get("subjects", {}).values())
        rows = f"{run.row_count:,}" + (f" ({run.error_count} errors)" if run.error_count else "")
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        table.add_row(*(Text(plain(t)) for t in (run.id, states[run.id], run.started[:19], rows, subjects, told)))
    out().print(table)


def report(
    run: Annotated[str, typer.Argument(help="a run's id, the beginning of one, or 'last'")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="the HTML file; by default RUN.html here")
    ] = None,
    lang: Annotated[str, typer.Option(help="en or ja", metavar="en|ja")] = "en",
) -> None:
    """Write a run as one self-contained HTML file: verdicts, plots, tables, environment, how to repeat it."""
    from tameshi.bench.result import Result
    from tameshi.bench.store import Store

    language(lang)
    with Store(make=False) as store:
        result = Result.of(store, run)
    path = result.report(output or Path(f"{result.run.id}.html"), lang=lang)
    out().print(str(path), soft_wrap=True, markup=False)


def results(
    source: Annotated[Path | None, typer.Option("--from", help="folder of records; by default your store")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write Markdown to this file instead of printing it")
    ] = None,
    lang: Annotated[str, typer.Option(help="en or ja", metavar="en|ja")] = "en",
) -> None:
    """One line a claim: the paper's figure, ours, the verdict; from the newest finished run of each paper."""
    from tameshi.bench.results import newest, table
    from tameshi.doors.files import write

    language(lang)
    text = table(newest(source), lang=lang)
    if output is None:
        out().print(text, markup=False, soft_wrap=True)
    else:
        write(output, text)
        err().print(str(output), soft_wrap=True, markup=False)


def compare(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C...]",
            help="runs (ids, beginnings of ids, 'last'), exported runs, Inspect logs (.eval, .json), folders or files of lm-eval samples",
        ),
    ],
    method: Annotated[str | None, typer.Option(help="which method of A")] = None,
    against: Annotated[str | None, typer.Option(help="which method of B")] = None,
    metric: Annotated[str | None, typer.Option(help="only this metric")] = None,
    check: Annotated[str | None, typer.Option(help="only this check, where there are more than two")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="of more than two: write the critical-difference picture (SVG) here")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    lang: Annotated[str, typer.Option(help="en or ja", metavar="en|ja")] = "en",
) -> None:
    """Is A really better than B? Pairs two results item by item and seed by seed; of more than two, all pairs with Holm."""
    from rich.text import Text

    from tameshi.bench.compare import compare as compare_two
    from tameshi.bench.ranking import rank

    language(lang)
    if len(what) < 2:
        raise ValueError("compare needs at least two results; the same run twice compares two of its methods")
    if len(what) == 2 and plot is None:
        found = compare_two(what[0], what[1], method=method, against=against, metric=metric)
        if json:
            as_json({**found.to_json(), "sentence": found.sentence(lang)})
            return
        out().print(found.table(lang))
        out().print(Text(found.sentence(lang)))
        return
    if method or against:
        raise ValueError(
            "--method and --against belong to a comparison of two; more than two must have one method each"
        )
    ranked = rank(what, metric=metric, check=check)
    if json:
        as_json({**ranked.to_json(), "sentence": ranked.sentence(lang)})
    else:
        out().print(ranked.table(lang))
        out().print(Text(ranked.sentence(lang)))
    if plot is not None:
        from tameshi.bench.report.plots import style, svg
        from tameshi.doors.files import write

        with style():
            write(plot, svg(ranked.figure()))
        err().print(str(plot), soft_wrap=True, markup=False)


def remove(run: Annotated[list[str], typer.Argument(help="runs to delete")]) -> None:
    """Delete runs with all their rows."""
    from tameshi.bench.store import Store

    with Store(make=False) as store:
        chosen = [store.run(one).id for one in run]
        for one in chosen:
            store.remove(one)
    err().print(f"deleted {len(chosen)}", markup=False)


def export(
    run: Annotated[str, typer.Argument(help="a run's id, the beginning of one, or 'last'")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the file to write")],
    record: Annotated[
        bool, typer.Option("--record", help="only facts, verdicts and means, as one JSON object")
    ] = False,
) -> None:
    """Write a run as JSON Lines; its first line is a manifest with the hash of all the others."""
    from tameshi.bench.exchange import export_record, export_run
    from tameshi.bench.store import Store

    with Store(make=False) as store:
        (export_record if record else export_run)(store, run, output)
    out().print(str(output), soft_wrap=True, markup=False)


def import_(file: Annotated[list[Path], typer.Argument(help="exported runs")]) -> None:
    """Read exported runs into your store; refused whole if a hash does not fit."""
    from tameshi.bench.exchange import import_run, read_run
    from tameshi.bench.store import Store

    for one in file:
        read_run(one)  # all are looked at before anything is stored
    with Store() as store:
        for one in file:
            out().print(import_run(store, one), markup=False)


def verify() -> None:
    """Verify the store: SQLite's own integrity check, row counts, and that every value can be read."""
    from tameshi.bench.store import Store

    with Store(make=False) as store:
        troubles = store.troubles()
    for trouble in troubles:
        err().print(trouble, markup=False)
    if troubles:
        raise typer.Exit(1)
    out().print("the store is whole")
