"""Recipes: a merge as a YAML file, of our own form or of mergekit's where the meaning is the same.

    method: lata                                  merge_method: ties
    pre: path/base                                base_model: path/base
    inst: path/instruct                           models:
    rule: linear                                    - {model: path/math, parameters: {weight: 0.5, density: 0.5}}
    experts: {math: {path: path/math, scale: 1.0}}  - {model: path/code, parameters: {weight: 0.5, density: 0.5}}

Where mergekit means something else, the recipe is refused with the reason, or merged with a note that says the
difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tameshi.merging.instruction_residual import InstructionResidual
from tameshi.merging.keys import check_kinds, need, only
from tameshi.merging.lata import LATA
from tameshi.merging.merge import merge
from tameshi.merging.merged import Merged
from tameshi.merging.mergekit import from_mergekit, to_mergekit
from tameshi.merging.method import METHODS, method_named

LARGEST = 1_000_000  # bytes of a recipe


@dataclass(frozen=True)
class MergeRecipe:
    """A recipe that was read.

    Args:
        told: the recipe as plain values, with mergekit's translated.
        notes: where the result differs from mergekit's, one sentence each.
    """

    told: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def merged(self, **changes: Any) -> Merged:
        """Open the models, check them and give the merge.

        Args:
            changes: settings that stand in place of the recipe's (`dtype`, `resize`, `seed`).

        Raises:
            ValueError: a key is missing or unknown, or the models do not fit.
        """
        told = {**self.told, **changes}
        method = told.pop("method")
        if told.get("resize") is False:
            told["resize"] = "no"  # which YAML reads as false
        check_kinds(told)
        if method == "lata":
            result = _lata(told)
        elif method == "instruction-residual":
            result = _residual(told)
        else:
            result = _general(told, method)
        return replace(result, notes=(*self.notes, *result.notes))

    def as_mergekit(self) -> dict[str, Any]:
        """The recipe in mergekit's form, for its YAML.

        Raises:
            ValueError: mergekit has no such method, or means something else by it.
        """
        return to_mergekit(self.told)


def read_recipe(source: str | Path | Mapping[str, Any]) -> MergeRecipe:
    """Read a recipe from a YAML file, or from the values of one.

    Raises:
        ValueError: not YAML, no method, or of mergekit with a meaning that cannot be kept.
    """
    told = _loaded(Path(source)) if isinstance(source, (str, Path)) else dict(source)
    if "merge_method" in told:
        return MergeRecipe(*from_mergekit(told))
    if "method" not in told:
        raise ValueError("a recipe needs a key method (ours) or merge_method (mergekit's)")
    if told["method"] not in ("lata", "instruction-residual"):
        told["method"] = method_named(str(told["method"])).name
    return MergeRecipe(told)


def _loaded(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"the recipe {file} does not exist")
    if file.stat().st_size > LARGEST:
        raise ValueError(f"the recipe {file} is larger than {LARGEST:,} bytes")
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(told, dict):
        raise ValueError(f"{file} must hold keys and values")
    return told


# --- our own form ---------------------------------------------------------------------------------------------------


def _lata(told: dict[str, Any]) -> Merged:
    keys = {"pre", "inst", "experts", "rule", "granularity", "anchor", "threshold", "rank_extra", "forget", "target"}
    only(told, keys | {"dtype", "resize"}, "lata")
    lata = LATA(**{k: told[k] for k in ("rule", "granularity", "anchor", "threshold", "rank_extra") if k in told})
    shared = {k: told[k] for k in ("dtype", "resize") if k in told}
    if "forget" in told:
        paths, scales = _paths(told["forget"], "scale")
        if len(paths) != 1 or "target" not in told:
            raise ValueError("forgetting takes a target and exactly one expert under forget")
        (label,) = paths
        return lata.forget(
            told["target"], need(told, "pre"), need(told, "inst"), paths[label], scales.get(label, 1.0), **shared
        )
    paths, scales = _paths(need(told, "experts"), "scale")
    each = {label: scales.get(label, 1.0) for label in paths}
    return lata.merge(need(told, "pre"), need(told, "inst"), paths, each, **shared)


def _residual(told: dict[str, Any]) -> Merged:
    only(told, {"base", "instruct", "target", "scale", "residual", "dtype", "resize"}, "instruction-residual")
    shared = {k: told[k] for k in ("resize",) if k in told}
    if "residual" in told:
        residual = InstructionResidual.load(told["residual"])
    else:
        residual = InstructionResidual.extract(need(told, "base"), need(told, "instruct"), **shared)
    return residual.apply(need(told, "target"), told.get("scale", 1.0), dtype=told.get("dtype"), **shared)


def _general(told: dict[str, Any], name: str) -> Merged:
    method = METHODS[name]
    common = {"base", "target", "models", "seed", "dtype", "resize", "tokenizer", "allow_unrelated"}
    only(told, common | set(method.settings), name)
    given = {k: told[k] for k in told if k != "models"}
    models = need(told, "models")
    if not isinstance(models, Mapping):
        raise ValueError("models must be NAME: path, or NAME: {path: ..., weights: ...}")
    paths, _ = _paths(models, "weights")
    for key, setting in method.settings.items():
        own = {label: entry[key] for label, entry in models.items() if isinstance(entry, Mapping) and key in entry}
        if own and setting.per_model:
            given[key] = {label: own.get(label, told.get(key, setting.default or 1.0)) for label in paths}
    for label, entry in models.items():
        extra = set(entry) - {"path", *method.settings} if isinstance(entry, Mapping) else set()
        if extra:
            raise ValueError(f"models.{label} has an unknown key {sorted(extra)[0]!r}")
    return merge(paths, method=method, **given)


def _paths(entries: Any, key: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Label -> path, and label -> the value of a key where there is one."""
    if not isinstance(entries, Mapping) or not entries:
        raise ValueError("models and experts are written as NAME: path or NAME: {path: ...}")
    paths, values = {}, {}
    for label, entry in entries.items():
        if isinstance(entry, Mapping):
            if "path" not in entry:
                raise ValueError(f"{label} needs a path")
            if key in entry:
                values[str(label)] = entry[key]
        path = entry["path"] if isinstance(entry, Mapping) else entry
        if not isinstance(path, (str, Path)):
            raise ValueError(f"the path of {label} must be text, got {path!r}")
        paths[str(label)] = str(path)
    return paths, values
