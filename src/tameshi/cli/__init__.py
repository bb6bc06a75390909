"""The command line: thin. Results go to stdout, everything else to stderr; a wrong input is one sentence and exit code 2."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tameshi.cli import apply, check, runs, shelf

app = typer.Typer(
    name="tameshi",
    help="Machine-learning papers as working parts: read them, check their claims here, apply them, import them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        import tameshi

        typer.echo(f"tameshi {tameshi.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Machine-learning papers as working parts: read them, check their claims here, apply them, import them."""


shelf.add_to(app)
check.add_to(app)
apply.add_to(app)
runs.add_to(app)


def main() -> None:
    """Run the command line; turn every refusal into one sentence on stderr and exit code 2."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("TAMESHI_TRACEBACK"):
            raise
        from tameshi.doors.screen import plain

        sys.stderr.write(f"tameshi: {plain(error)}\n")
        sys.exit(2)
