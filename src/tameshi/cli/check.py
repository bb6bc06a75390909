"""`tameshi check`: options come from the signatures of the checks it runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tameshi.bench.shelf import built, resolve, stand
from tameshi.bench.signature import Parameter, parameters, summary
from tameshi.cli.options import placed, raw_command, read, sign, typer_app
from tameshi.cli.progress import Interruptible, Progress
from tameshi.cli.screen import as_json, err, out
from tameshi.cli.shelf import language

if TYPE_CHECKING:
    from tameshi.bench.result import Result
    from tameshi.bench.run import Plan
    from tameshi.bench.store import Store


def add_to(app: typer.Typer) -> None:
    """Hang the command onto the command line."""
    raw_command(app, check)


def check(context: typer.Context) -> None:
    """Check a paper's claims, on the embedded subject or your own. `tameshi check SLUG --help` lists its options."""
    slugs = _slugs(context.args)
    function = _check_command(slugs)
    typer_app(function, f"tameshi check {' '.join(slugs)}".strip())(context.args, prog_name="tameshi check")


def _slugs(args: Sequence[str]) -> list[str]:
    """The papers named in raw arguments; what follows an option may be its value and counts only if it is a paper."""
    if "--all" in args:
        return built()
    found: list[str] = []
    for before, text in zip(["", *args], args, strict=False):
        if text.startswith("-"):
            continue
        if before.startswith("-") and text not in built():
            continue
        slug = resolve(text)
        stand(slug)
        if slug not in found:
            found.append(slug)
    return found


def _check_command(slugs: Sequence[str]) -> Callable[..., None]:
    options: dict[str, Parameter] = {}
    for slug in slugs:
        for one in stand(slug).checks:
            for parameter in parameters(one.function):
                options.setdefault(parameter.name, parameter)

    def run(
        *,
        papers: Sequence[str] | None,
        all_papers: bool,
        seeds: int | None,
        seed: int,
        only: str | None,
        device: str,
        dtype: str,
        online: bool,
        on: str,
        time_limit: float | None,
        fresh: bool,
        output: str | None,
        json: bool,
        strict: bool,
        lang: str,
        **given: Any,
    ) -> None:
        if not slugs:
            raise ValueError("name at least one paper, or --all; `tameshi papers` lists them")
        language(lang)
        chosen = read(options, given)
        plans = _plans(
            slugs, chosen, seeds=seeds, first_seed=seed, only=only, device=device, dtype=dtype, online=online
        )
        results = _run_all(plans, on=on, time_limit=time_limit, fresh=fresh, lang=lang, quiet=json)
        _show(results, output=output, json=json, lang=lang)
        if strict and any(v.outcome == "fails" for result in results for v in result.verdicts.values()):
            raise typer.Exit(1)
        if any(result.errors for result in results):
            raise typer.Exit(3)

    told = "\n\n".join(f"{one.name}: {summary(one.function)}" for slug in slugs for one in stand(slug).checks)
    run.__doc__ = told or check.__doc__
    common, defaults = placed()
    common = {
        "papers": Annotated[
            list[str] | None, typer.Argument(metavar="SLUG...", help="papers: slugs, arXiv ids or addresses")
        ],
        "all_papers": Annotated[bool, typer.Option("--all", help="every paper whose check is built")],
        "seeds": Annotated[int | None, typer.Option(help="how many seeds; by default as many as each check asks for")],
        "seed": Annotated[int, typer.Option(help="the first seed")],
        "only": Annotated[str | None, typer.Option(help="only this check of the paper", metavar="CHECK")],
        "on": Annotated[
            str, typer.Option(help="where: auto, inline, processes:N, ray, ray://HOST:PORT", metavar="WHERE")
        ],
        "time_limit": Annotated[
            float | None, typer.Option(help="seconds that one measurement may take", metavar="SECONDS")
        ],
        "fresh": Annotated[bool, typer.Option("--fresh/--resume", help="begin anew, or go on with an unfinished run")],
        "output": Annotated[
            str | None, typer.Option(help="also write report, rows and JSON into this folder", metavar="DIR")
        ],
        "strict": Annotated[bool, typer.Option("--strict", help="exit 1 if a claim fails")],
        "lang": Annotated[str, typer.Option(help="en or ja", metavar="en|ja")],
    } | common
    defaults |= {"all_papers": False, "seed": 0, "on": "auto", "fresh": False, "strict": False, "lang": "en"}
    sign(run, options, common, defaults)
    return run


def _plans(slugs: Sequence[str], chosen: Mapping[str, Any], **common: Any) -> list[Plan]:
    """Plan every paper before any of them runs; an option goes to the papers that know it, and some paper must."""
    from tameshi.bench.run import plan, unknown_option

    known = {slug: {p.name for one in stand(slug).checks for p in parameters(one.function)} for slug in slugs}
    for name in chosen:
        if not any(name in names for names in known.values()):
            raise ValueError(unknown_option(" ".join(slugs), name, sorted(set().union(*known.values()))))
        _same_kind(name, [slug for slug in slugs if name in known[slug]])
    made = []
    with err().status("opening") if sys.stderr.isatty() else contextlib.nullcontext():
        for slug in slugs:
            own = {name: value for name, value in chosen.items() if name in known[slug]}
            made.append(plan(slug, own, command=_command(), **common))
    return made


def _same_kind(name: str, slugs: Sequence[str]) -> None:
    """ValueError where an option that was typed once is read differently by two of the papers."""
    kinds = {
        slug: (p.shape, p.choices, p.is_subject or p.type)
        for slug in slugs
        for one in stand(slug).checks
        for p in parameters(one.function)
        if p.name == name
    }
    other = next((slug for slug in slugs if kinds[slug] != kinds[slugs[0]]), None)
    if other is not None:
        raise ValueError(
            f"--{name.replace('_', '-')} is not the same for {slugs[0]} and {other}; check them one by one"
        )


def _command() -> list[str]:
    """What was typed, to repeat the run; without the folder that it wrote to, which decides nothing."""
    args = sys.argv[1:]
    kept = [
        arg
        for before, arg in zip(["", *args], args, strict=False)
        if "--output" not in (before, arg) and not arg.startswith("--output=")
    ]
    return ["tameshi", *kept]


def _run_all(
    plans: Sequence[Plan], *, on: str, time_limit: float | None, fresh: bool, lang: str, quiet: bool
) -> list[Result]:
    from tameshi.bench.executors import executor_of
    from tameshi.bench.run import execute
    from tameshi.bench.store import Store

    executors = [executor_of(on, len(planned.jobs), time_limit=time_limit) for planned in plans]
    results = []
    with Store() as store:
        for planned, executor in zip(plans, executors, strict=True):
            with Progress(planned) as (begun, progress), Interruptible(executor):
                result = execute(planned, store, executor, fresh=fresh, begun=begun, progress=progress)
            if result.run.status == "stopped":
                _say_stopped(result, planned, store)
            results.append(result)
    return results


def _say_stopped(result: Result, planned: Plan, store: Store) -> None:
    import shlex

    command = shlex.join(["tameshi", *sys.argv[1:]])
    sys.stderr.write(
        f"tameshi: stopped; {result.run.row_count} of {planned.units} rows of {result.run.id} are stored in {store.path}\n"
        f"tameshi: go on with: {command}\n"
    )
    raise typer.Exit(130)


def _show(results: Sequence[Result], *, output: str | None, json: bool, lang: str) -> None:
    from rich.text import Text

    from tameshi.catalogue import paper
    from tameshi.doors.screen import plain

    if json:
        as_json([result.to_json() for result in results])
    for result in results:
        claims = {claim.id: claim.statement[lang] for claim in paper(result.run.slug).claims}
        if not json:
            console = out()
            console.print(result.table(claims, lang=lang))
            for line in result.errors:
                err().print(Text(f"not measured: {plain(line)}", style="red"))
        if output is not None:
            folder = Path(output) / result.run.slug if len(results) > 1 else Path(output)
            written = write_all(result, folder, lang=lang)
            err().print(Text(f"report: {written}"), soft_wrap=True)
        elif not json:
            out().print(Text(f"report: tameshi report {result.run.id} -o report.html"), soft_wrap=True)


def write_all(result: Result, folder: Path, *, lang: str) -> Path:
    """Write report.html, result.json and rows.jsonl of a run into a folder; returns the path of the report."""
    import json

    from tameshi.doors.files import write

    write(folder / "result.json", json.dumps(result.to_json(), ensure_ascii=False, indent=2, default=str) + "\n")
    lines = (
        json.dumps({"key": row.key, "error": row.error, "values": json.loads(row.values_json())}, ensure_ascii=False)
        for row in result.rows
    )
    write(folder / "rows.jsonl", "".join(f"{line}\n" for line in lines))
    return result.report(folder / "report.html", lang=lang)
