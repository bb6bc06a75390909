"""`tameshi apply`: options come from the signature of the function that it calls."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from tameshi.bench.shelf import Stand, built, resolve, stand
from tameshi.bench.signature import parameters, summary
from tameshi.cli.options import placed, raw_command, read, sign, typer_app
from tameshi.cli.screen import as_json, out


def add_to(app: typer.Typer) -> None:
    """Hang the command onto the command line."""
    raw_command(app, apply)


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
    typer_app(_apply_command(shelf, chosen.function, others), "")(
        rest, prog_name=f"tameshi apply {slug} {chosen.name}".strip()
    )


def _apply_command(shelf: Stand, function: Callable[..., Any], others: Sequence[str]) -> Callable[..., None]:
    options = {parameter.name: parameter for parameter in parameters(function)}
    seeded = "seed" in inspect.signature(function).parameters

    def run(*, device: str, dtype: str, online: bool, json: bool, seed: int = 0, **given: Any) -> None:
        from tameshi.bench.run import device_of
        from tameshi.bench.work import Job, opened

        chosen = read(options, given)
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
    common, defaults = placed()
    if seeded:
        common["seed"], defaults["seed"] = Annotated[int, typer.Option(help="of everything random")], 0
    sign(run, options, common, defaults)
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
