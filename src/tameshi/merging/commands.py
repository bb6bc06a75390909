"""What the commands of this wing share: a recipe in place of options, a plan, and the word that it was written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tameshi.doors.screen import plain
from tameshi.merging.instruction_residual import INTERFERES, LayerReport
from tameshi.merging.merged import Merged
from tameshi.merging.recipes import read_recipe

BAR = 20  # characters of a cosine of 1


def read_alone(
    file: Path, methods: Collection[str], *, resize: str, dtype: str | None, others: Mapping[str, Any]
) -> Merged:
    """The merge of a recipe that stands in place of the options of a command line.

    Args:
        file: the recipe.
        methods: those that the command is for.
        resize, dtype: options that change what a recipe says; "no" and None leave it.
        others: option -> value, of those that the recipe replaces; None where the option was left out.

    Raises:
        ValueError: another option was given too, or the recipe is of another method.
    """
    if given := next((option for option, value in others.items() if value not in (None, {}, ())), None):
        raise ValueError(f"--{given} and --recipe cannot both be given; write it into {file}")
    recipe = read_recipe(file)
    if recipe.told["method"] not in methods:
        raise ValueError(f"{file} is a recipe of {recipe.told['method']}; this command is for {', '.join(methods)}")
    changes = {"resize": resize if resize != "no" else None, "dtype": dtype}
    return recipe.merged(**{key: value for key, value in changes.items() if value is not None})


def done(merged: Merged, output: Path | None, *, dry_run: bool, more: str = "") -> str:
    """The plan of a merge, and unless it is a dry run, the folder that was written.

    Args:
        merged: what is written.
        output: a new folder.
        dry_run: write nothing.
        more: said between the plan and the folder.

    Raises:
        ValueError: there is no place to write to.
        NotWritten: the place is taken or the disk is full.
    """
    told = [merged.plan(), *([more] if more else [])]
    if not dry_run:
        if output is None:
            raise ValueError("--output needs a new folder for the merged model; --dry-run needs none")
        told.append(f"wrote {plain(merged.save_pretrained(output))}")
    return "\n".join(told)


def weights_by_layer(settings: Mapping[str, Any]) -> str:
    """Cosine and weight of every layer of every expert of a merge by LATA, as bars.

    Args:
        settings: those of the merge's recipe.
    """
    lines = []
    for label, told in (settings.get("experts") or settings.get("forget") or {}).items():
        lines.append(f"{plain(label)}: cosine with the instruction vector, and what is kept")
        for layer, row in told["layers"].items():
            lines.append(
                f"  {plain(layer):<24} {row['cosine']:+.3f} {_bar(row['cosine']):<{BAR}} x {row['weight']:.3f}"
            )
    return "\n".join(lines)


def angles_by_layer(reports: Collection[LayerReport]) -> str:
    """Length and angle of an instruction residual in every layer, as bars."""
    lines = ["residual over weights, and its cosine with continued pre-training"]
    for report in reports:
        warning = "  interferes" if report.cosine > INTERFERES else ""
        lines.append(
            f"  {plain(report.layer):<24} {report.relative:8.4f}  {report.cosine:+.3f} {_bar(report.cosine)}{warning}"
        )
    return "\n".join(lines)


def _bar(cosine: float) -> str:
    return "█" * round(BAR * max(0.0, cosine))
