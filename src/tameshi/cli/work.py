"""`tameshi check` and `tameshi apply`: commands whose options come from the signatures of the functions they run."""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tameshi.bench.shelf import Stand, built, resolve, stand
from tameshi.bench.signature import Parameter, parameters, summary
from tameshi.cli.screen import as_json, err, out
from tameshi.cli.shelf import language

if TYPE_CHECKING:
    from tameshi.bench.executors import Executor
    from tameshi.bench.result import Result
    from tameshi.bench.run import Plan
    from tameshi.bench.store import Store

RAW = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_to(app: typer.Typer) -> None:
    """Hang the two commands onto the command line."""
    app.command(context_settings=RAW, add_help_option=False)(check)
    app.command(context_settings=RAW, add_help_option=False)(apply)


# ---- check


def check(context: typer.Context) -> None:
    """Check a paper's claims, on the embedded subject or your own. `tameshi check SLUG --help` lists its options."""
    slugs = _slugs(context.args)
    function = _check_command(slugs)
    _typer_app(function, f"tameshi check {' '.join(slugs)}".strip())(context.args, prog_name="tameshi check")


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
        chosen = _read(options, given)
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
    common = {
        "papers": Annotated[
            list[str] | None, typer.Argument(metavar="SLUG...", help="papers: slugs, arXiv ids or addresses")
        ],
        "all_papers": Annotated[bool, typer.Option("--all", help="every paper whose check is built")],
        "seeds": Annotated[int | None, typer.Option(help="how many seeds; by default as many as each check asks for")],
        "seed": Annotated[int, typer.Option(help="the first seed")],
        "only": Annotated[str | None, typer.Option(help="only this check of the paper", metavar="CHECK")],
        "device": Annotated[str, typer.Option(help="auto, cpu, cuda, mps", metavar="DEVICE")],
        "dtype": Annotated[str, typer.Option(help="auto (as stored), float32, bfloat16, float16", metavar="DTYPE")],
        "online": Annotated[bool, typer.Option("--online", help="let a hub id be downloaded")],
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
        "json": Annotated[bool, typer.Option("--json", help="print JSON")],
        "strict": Annotated[bool, typer.Option("--strict", help="exit 1 if a claim fails")],
        "lang": Annotated[str, typer.Option(help="en or ja", metavar="en|ja")],
    }
    defaults = {"all_papers": False, "seed": 0, "device": "auto", "dtype": "auto", "online": False, "on": "auto", "fresh": False, "json": False, "strict": False, "lang": "en"}  # fmt: skip
    _sign(run, options, common, defaults)
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
    with err().status("opening") if sys.stderr.isatty() else _nothing():
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
            with _progress(planned) as (begun, progress), _interruptible(executor):
                result = execute(planned, store, executor, fresh=fresh, begun=begun, progress=progress)
            if result.run.status == "stopped":
                _say_stopped(result, planned, store)
            results.append(result)
    return results


class _nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class _progress:
    """A bar on stderr with the time left; nothing where stderr is no terminal."""

    def __init__(self, planned: Plan) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=err(), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(planned.slug, total=planned.units)

    def __enter__(self) -> tuple[Callable[..., None], Callable[..., None]]:
        self._bar.start()

        def begun(run: Any, done: int) -> None:
            if done:
                sys.stderr.write(f"tameshi: going on with {run.id}, {done} rows are there already\n")
            self._bar.update(self._task, completed=done)

        def progress(row: Any, done: int, total: int) -> None:
            self._bar.update(self._task, completed=done, description=f"{row.check} · {row.method}"[:40])

        return begun, progress

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class _interruptible:
    """Ctrl-C once: finish what is being measured and stop. Twice: stop at once. Either way what is stored stays stored."""

    def __init__(self, executor: Executor) -> None:
        self._executor, self._times = executor, 0

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._asked)

    def _asked(self, *_: object) -> None:
        self._times += 1
        if self._times > 1:
            sys.stderr.write("\ntameshi: stopped at once; every finished row is stored, and the same command goes on\n")
            sys.stderr.flush()
            os._exit(130)  # daemonic workers notice that the pipe is gone
        sys.stderr.write("\ntameshi: finishing the measurement under way; press Ctrl-C again to stop at once\n")
        self._executor.stop()

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)


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


# ---- apply


def apply(context: typer.Context) -> None:
    """Do a paper's method to your own model or data. `tameshi apply SLUG --help` lists its options."""
    from tameshi.bench.applications import names

    appliable = sorted({name.split()[0] for slug in built() for name in names(slug)})
    if not context.args or context.args[0].startswith("-"):
        sys.stdout.write(f"{summary(apply)}\n\nPapers that can be applied: {', '.join(appliable) or 'none yet'}\n")
        raise typer.Exit(0 if context.args else 2)
    slug = resolve(context.args[0])
    if slug not in appliable:
        raise ValueError(f"{slug} has nothing to apply yet; these have: {', '.join(appliable) or 'none'}")
    shelf, rest = stand(slug), list(context.args[1:])
    by_name = {one.name: one for one in shelf.applications}
    chosen = by_name[rest.pop(0)] if rest and rest[0] in by_name else by_name.get("")
    if chosen is None:
        raise ValueError(f"tameshi apply {slug} needs one of: {', '.join(by_name)}")
    others = [f"{slug} {name}" for name in by_name if name and name != chosen.name]
    _typer_app(_apply_command(shelf, chosen.function, others), "")(
        rest, prog_name=f"tameshi apply {slug} {chosen.name}".strip()
    )


def _apply_command(shelf: Stand, function: Callable[..., Any], others: Sequence[str]) -> Callable[..., None]:
    options = {parameter.name: parameter for parameter in parameters(function)}
    seeded = "seed" in inspect.signature(function).parameters

    def run(*, device: str, dtype: str, online: bool, json: bool, seed: int = 0, **given: Any) -> None:
        from tameshi.bench.run import device_of
        from tameshi.bench.work import Job, opened

        chosen = _read(options, given)
        for name, parameter in options.items():
            if parameter.required and name not in chosen:
                raise ValueError(f"tameshi apply {shelf.slug} needs {parameter.option} {parameter.metavar}")
        job = Job(shelf.slug, "", seed, {}, device_of(device), dtype, online)
        arguments = {p.name: p.default for p in options.values() if not p.required} | chosen
        for name, parameter in options.items():
            if parameter.is_subject:
                arguments[name] = opened(parameter.type, arguments[name], job)
        if seeded:
            arguments["seed"] = seed
        made = function(**arguments)
        if json:
            as_json(made if isinstance(made, Mapping) else {"result": str(made)})
        elif isinstance(made, Mapping):
            out().print(_plain_table(made))
        else:
            sys.stdout.write(f"{made}\n")

    also = f"\n\nAlso: {', '.join(f'tameshi apply {name}' for name in others)}" if others else ""
    run.__doc__ = summary(function) + also
    common: dict[str, Any] = {
        "device": Annotated[str, typer.Option(help="auto, cpu, cuda, mps", metavar="DEVICE")],
        "dtype": Annotated[str, typer.Option(help="auto (as stored), float32, bfloat16, float16", metavar="DTYPE")],
        "online": Annotated[bool, typer.Option("--online", help="let a hub id be downloaded")],
        "json": Annotated[bool, typer.Option("--json", help="print JSON")],
    }
    defaults: dict[str, Any] = {"device": "auto", "dtype": "auto", "online": False, "json": False}
    if seeded:
        common["seed"], defaults["seed"] = Annotated[int, typer.Option(help="of everything random")], 0
    _sign(run, options, common, defaults)
    return run


def _plain_table(made: Mapping[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from tameshi.doors.screen import plain

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in made.items():
        table.add_row(Text(plain(name)), Text(plain(value)))
    return table


# ---- signatures into options


def _typer_app(function: Callable[..., None], name: str) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)
    app.command(name or None)(function)
    return app


def _sign(
    function: Callable[..., None],
    options: Mapping[str, Parameter],
    common: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> None:
    """Give a function the signature that Typer reads: the paper's options first, then the common ones."""
    signed: dict[str, tuple[Any, Any]] = {}
    if "papers" in common:
        signed["papers"] = (common["papers"], None)
    for name, parameter in options.items():
        signed[name] = (_annotated(parameter), None)
    for name, annotation in common.items():
        if name in signed and name != "papers":
            raise TypeError(f"{name} is a common option and cannot be one of the paper's own")
        signed.setdefault(name, (annotation, defaults.get(name)))
    made = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in signed.items()
    ]
    function.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]  # Typer reads it; functions have no such slot declared
    function.__annotations__ = {name: annotation for name, (annotation, _) in signed.items()}


def _annotated(parameter: Parameter) -> Any:
    default = "" if parameter.required or parameter.default is None else f" [{_shown(parameter.default)}]"
    told = f"{parameter.help}{default}".strip()
    if parameter.positional and parameter.required and parameter.shape == "one":
        return Annotated[str | None, typer.Argument(help=told, metavar=parameter.name.upper(), show_default=False)]
    if parameter.positional and parameter.required:
        return Annotated[
            list[str] | None, typer.Argument(help=told, metavar=f"{parameter.name.upper()}...", show_default=False)
        ]
    if parameter.type is bool and parameter.shape == "one":
        return Annotated[
            bool | None, typer.Option(f"{parameter.option}/--no-{parameter.option[2:]}", help=told, show_default=False)
        ]
    names = [parameter.option, *(["-o"] if parameter.name == "output" else [])]
    return Annotated[list[str] | None, typer.Option(*names, help=told, metavar=parameter.metavar, show_default=False)]


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _read(options: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, read into the types of the signature; what was left out is left out."""
    chosen: dict[str, Any] = {}
    for name, parameter in options.items():
        value = given.get(name)
        if value is None or value == []:
            continue
        if isinstance(value, bool):
            chosen[name] = value
            continue
        typed: Iterable[str] = [value] if isinstance(value, str) else value
        chosen[name] = parameter.read(list(typed))
    return chosen
