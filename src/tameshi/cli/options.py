"""Options from signatures: what a check or an application takes becomes what its command takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import typer

from tameshi.bench.signature import Parameter

RAW = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def raw_command(app: typer.Typer, function: Callable[[typer.Context], None]) -> None:
    """Hang a command onto the command line that reads its own arguments."""
    app.command(context_settings=RAW, add_help_option=False)(function)


def placed() -> tuple[dict[str, Any], dict[str, Any]]:
    """Options about where a model runs and how the answer is printed, and their defaults."""
    common: dict[str, Any] = {
        "device": Annotated[str, typer.Option(help="auto, cpu, cuda, mps", metavar="DEVICE")],
        "dtype": Annotated[str, typer.Option(help="auto (as stored), float32, bfloat16, float16", metavar="DTYPE")],
        "online": Annotated[bool, typer.Option("--online", help="let a hub id be downloaded")],
        "json": Annotated[bool, typer.Option("--json", help="print JSON")],
    }
    return common, {"device": "auto", "dtype": "auto", "online": False, "json": False}


def typer_app(function: Callable[..., None], name: str) -> typer.Typer:
    """An app of one command, to be called with its arguments."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)
    app.command(name or None)(function)
    return app


def sign(
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


def read(options: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
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
