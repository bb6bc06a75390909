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
from tameshi.merging.lata import LATA
from tameshi.merging.merge import merge
from tameshi.merging.merged import Merged
from tameshi.merging.method import METHODS, method_named

MERGEKIT = {  # mergekit's method -> ours, and whether mergekit normalises by default
    "linear": ("linear", True),
    "slerp": ("slerp", False),
    "nuslerp": ("slerp-delta", False),
    "task_arithmetic": ("task-arithmetic", False),
    "ties": ("ties", True),
    "dare_linear": ("dare", False),
    "dare_ties": ("dare-ties", False),
}
LARGEST = 1_000_000  # bytes of a recipe
PATHS = ("pre", "inst", "base", "instruct", "target", "residual", "base_model")
SWITCHES = ("rank_extra", "allow_unrelated")


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
        _check_kinds(told)
        if method == "lata":
            result = _lata(told)
        elif method == "instruction-residual":
            result = _residual(told)
        else:
            result = _general(told, method)
        return replace(result, notes=(*self.notes, *result.notes))


def read_recipe(source: str | Path | Mapping[str, Any]) -> MergeRecipe:
    """Read a recipe from a YAML file, or from the values of one.

    Raises:
        ValueError: not YAML, no method, or of mergekit with a meaning that cannot be kept.
    """
    told = _loaded(Path(source)) if isinstance(source, (str, Path)) else dict(source)
    if "merge_method" in told:
        return _from_mergekit(told)
    if "method" not in told:
        raise ValueError("a recipe needs a key method (ours) or merge_method (mergekit's)")
    if told["method"] not in ("lata", "instruction-residual"):
        method_named(str(told["method"]))
    return MergeRecipe(told)


def _check_kinds(told: Mapping[str, Any]) -> None:
    for key, value in told.items():
        if key in PATHS and not isinstance(value, (str, Path)):
            raise ValueError(f"{key} must be a path, got {value!r}")
        if key in SWITCHES and not isinstance(value, bool):
            raise ValueError(f"{key} must be true or false, got {value!r}")
        if key == "seed" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"seed must be a whole number, got {value!r}")


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
    _only(told, keys | {"dtype", "resize"}, "lata")
    lata = LATA(**{k: told[k] for k in ("rule", "granularity", "anchor", "threshold", "rank_extra") if k in told})
    shared = {k: told[k] for k in ("resize",) if k in told}
    if "forget" in told:
        paths, scales = _paths(told["forget"], "scale")
        if len(paths) != 1 or "target" not in told:
            raise ValueError("forgetting takes a target and exactly one expert under forget")
        (label,) = paths
        return lata.forget(
            told["target"], _need(told, "pre"), _need(told, "inst"), paths[label], scales.get(label, 1.0), **shared
        )
    paths, scales = _paths(_need(told, "experts"), "scale")
    each = {label: scales.get(label, 1.0) for label in paths}
    return lata.merge(_need(told, "pre"), _need(told, "inst"), paths, each, dtype=told.get("dtype"), **shared)


def _residual(told: dict[str, Any]) -> Merged:
    _only(told, {"base", "instruct", "target", "scale", "residual", "dtype", "resize"}, "instruction-residual")
    shared = {k: told[k] for k in ("resize",) if k in told}
    if "residual" in told:
        residual = InstructionResidual.load(told["residual"])
    else:
        residual = InstructionResidual.extract(_need(told, "base"), _need(told, "instruct"), **shared)
    return residual.apply(_need(told, "target"), told.get("scale", 1.0), dtype=told.get("dtype"), **shared)


def _general(told: dict[str, Any], name: str) -> Merged:
    method = METHODS[name]
    common = {"base", "target", "models", "seed", "dtype", "resize", "tokenizer", "allow_unrelated"}
    _only(told, common | set(method.settings), name)
    given = {k: told[k] for k in told if k != "models"}
    models = _need(told, "models")
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


def _need(told: Mapping[str, Any], key: str) -> Any:
    if key not in told:
        raise ValueError(f"the recipe lacks the key {key}")
    return told[key]


def _only(told: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(set(told) - known):
        raise ValueError(f"a recipe of {what} has no key {unknown[0]!r}; it knows {', '.join(sorted(known))}")


# --- mergekit's form ------------------------------------------------------------------------------------------------


def _from_mergekit(told: Mapping[str, Any]) -> MergeRecipe:
    name = str(told["merge_method"])
    if name not in MERGEKIT:
        raise ValueError(f"mergekit's {name} is not known here; known are {', '.join(sorted(MERGEKIT))}")
    for key in ("slices", "modules"):
        if key in told:
            raise ValueError(f"recipes with {key} (layers taken apart) are not merged here; give whole models")
    known = {"merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "tokenizer_source"}
    _only(told, known | {"tokenizer", "chat_template"}, "mergekit")
    ours, normalises = MERGEKIT[name]
    notes: list[str] = []
    _check_kinds(told)
    entries = told.get("models") or []
    if not isinstance(entries, list) or not all(isinstance(e, Mapping) and "model" in e for e in entries):
        raise ValueError("models of a mergekit recipe must be a list of {model: path, parameters: ...}")
    if not all(isinstance(e.get("parameters") or {}, Mapping) for e in (told, *entries)):
        raise ValueError("parameters of a mergekit recipe must be keys and values")
    parameters = dict(told.get("parameters") or {})
    parameters.pop("int8_mask", None)  # a matter of memory, not of values
    base = told.get("base_model")
    inputs = [(str(e["model"]), dict(e.get("parameters") or {})) for e in entries]
    merged_here = [(path, own) for path, own in inputs if path != base or ours == "linear"]
    recipe: dict[str, Any] = {"method": ours}
    if ours == "slerp":
        return _slerp_from_mergekit(base, inputs, parameters, told, notes)
    labels = {path: f"model{i}" for i, (path, _) in enumerate(merged_here)}
    recipe["models"] = {labels[path]: path for path, _ in merged_here}
    if METHODS[ours].needs_base:
        recipe["base"] = _need(told, "base_model")
    for theirs, key in (("weight", "weights"), ("density", "densities")):
        given = {labels[p]: own.pop(theirs, parameters.get(theirs)) for p, own in merged_here}
        parameters.pop(theirs, None)
        if key not in METHODS[ours].settings:
            continue
        default = {"weights": None, "densities": 1.0}[key]
        if any(v is None for v in given.values()) and default is None:
            raise ValueError(f"mergekit's {name} needs a {theirs} for every model")
        recipe[key] = {label: default if v is None else v for label, v in given.items()}
    if leftover := sorted({k for _, own in merged_here for k in own}):
        raise ValueError(f"the parameter {leftover[0]!r} of mergekit's {name} is not known here")
    _scalars_from_mergekit(name, ours, normalises, parameters, recipe, notes)
    return _finished(recipe, told, labels, notes)


def _scalars_from_mergekit(
    name: str, ours: str, normalises: bool, parameters: dict[str, Any], recipe: dict[str, Any], notes: list[str]
) -> None:
    normalize = parameters.pop("normalize", normalises)
    if "normalize" in METHODS[ours].settings:
        recipe["normalize"] = normalize
    elif normalize:
        raise ValueError(f"normalize: true is not known for {ours} here; divide the weights by their sum instead")
    if "lambda" in parameters:
        recipe["scale"] = parameters.pop("lambda")
    rescale = parameters.pop("rescale", ours.startswith("dare"))
    if ours.startswith("dare"):
        recipe["rescale"] = "l1" if rescale else "none"
        notes.append(
            "mergekit draws its masks from global random state, so the entries dropped differ from run to run there; "
            + (
                "rescale: true restores the L1 norm of each tensor, as there"
                if rescale
                else "nothing is rescaled, as there"
            )
        )
    elif rescale and ours == "ties":
        raise ValueError("rescale: true of mergekit's ties is not merged here; leave it out, as the paper does")
    if ours == "ties":
        notes.append("trimmed per tensor, as mergekit does; entries equal to the smallest one kept are all kept")
    if "t" in parameters and "t" in METHODS[ours].settings:
        recipe["t"] = parameters.pop("t")
    if parameters:
        raise ValueError(f"the parameter {sorted(parameters)[0]!r} of mergekit's {name} is not known here")


def _slerp_from_mergekit(
    base: Any,
    inputs: list[tuple[str, dict[str, Any]]],
    parameters: dict[str, Any],
    told: Mapping[str, Any],
    notes: list[str],
) -> MergeRecipe:
    others = [path for path, _ in inputs if path != base]
    if base is None or len(others) != 1:
        raise ValueError("mergekit's slerp takes a base_model and exactly one other model")
    t = parameters.pop("t", None)
    if t is None or parameters:
        raise ValueError("mergekit's slerp takes the parameter t and no other")
    labels = {str(base): "model0", others[0]: "model1"}
    return _finished({"method": "slerp", "models": {v: k for k, v in labels.items()}, "t": t}, told, labels, notes)


def _finished(
    recipe: dict[str, Any], told: Mapping[str, Any], labels: Mapping[str, str], notes: list[str]
) -> MergeRecipe:
    """Dtype and tokenizer, and what they mean here."""
    out = told.get("out_dtype") or told.get("dtype")
    if out:
        recipe["dtype"] = str(out)
    if told.get("dtype") not in (None, "float32"):
        notes.append(
            f"the arithmetic is float32 with one rounding to {out}, where mergekit computes in {told['dtype']}"
        )
    spreads = [v for k in ("weights", "densities") for v in recipe.get(k, {}).values()] + [recipe.get("t")]
    if any(isinstance(v, list) for v in spreads):
        notes.append("gradients: embeddings take the first value and head and final norm the last")
    source = told.get("tokenizer_source")
    if source == "union" or told.get("tokenizer"):
        raise ValueError("tokenizers are not united here; name one model in tokenizer_source")
    if told.get("chat_template") not in (None, "auto"):
        raise ValueError("the chat template is that of the model with the tokenizer; name it in tokenizer_source")
    if source not in (None, "base"):
        if str(source) not in labels:
            raise ValueError(f"tokenizer_source {source} is none of the models")
        recipe["tokenizer"] = labels[str(source)]
    return MergeRecipe(recipe, tuple(notes))
