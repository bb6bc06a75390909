"""mergekit's YAML, read and written where it means what ours does (mergekit 0.1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tameshi.merging.keys import check_kinds, need, only
from tameshi.merging.method import METHODS

MERGEKIT = {  # mergekit's method -> ours, and whether mergekit normalises by default
    "linear": ("linear", True),
    "slerp": ("slerp", False),
    "nuslerp": ("slerp-delta", False),
    "task_arithmetic": ("task-arithmetic", False),
    "ties": ("ties", True),
    "dare_linear": ("dare", False),
    "dare_ties": ("dare-ties", False),
}

Translated = tuple[dict[str, Any], tuple[str, ...]]


def to_mergekit(told: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of ours in mergekit's form.

    A gradient is written with filters for the head and the final norm (as Llama names them), which take the last value
    here and the first in mergekit.

    Raises:
        ValueError: mergekit has no such method, or means something else by a setting.
    """
    method = told["method"]
    theirs = {ours: name for name, (ours, _) in MERGEKIT.items() if ours != "slerp-delta"}
    if method not in theirs:
        raise ValueError(f"{method} is not written as a recipe of mergekit; written are {', '.join(sorted(theirs))}")
    models = {label: m if isinstance(m, Mapping) else {"path": m} for label, m in need(told, "models").items()}
    paths = [str(need(entry, "path")) for entry in models.values()]
    dtypes = {"dtype": "float32"} | ({"out_dtype": told["dtype"]} if "dtype" in told else {})
    if method == "slerp":
        parameters = {"t": _spread(told.get("t", 0.5))}
        written = [{"model": path} for path in paths]
        return {"merge_method": "slerp", "base_model": paths[0], "models": written, "parameters": parameters} | dtypes
    known = METHODS[method].settings

    def own(key: str, label: str) -> Any:
        shared = told.get(key, {"weights": 1.0, "densities": 0.5}[key])
        if isinstance(shared, (list, tuple)):
            shared = dict(zip(models, shared, strict=True))
        return _spread(models[label].get(key, shared[label] if isinstance(shared, Mapping) else shared))

    names = {theirs: key for theirs, key in (("weight", "weights"), ("density", "densities")) if key in known}
    parameters = {"normalize": told.get("normalize", True) if "normalize" in known else False}
    parameters |= {"lambda": told["scale"]} if "scale" in told else {}
    if "rescale" in known:
        if told.get("rescale", "density") == "density":
            raise ValueError("mergekit does not divide by the density; write rescale: l1, which restores the L1 norm")
        parameters["rescale"] = told["rescale"] == "l1"
    return {
        "merge_method": theirs[method],
        **({"base_model": str(need(told, "base"))} if METHODS[method].needs_base else {}),
        "models": [
            {"model": path, "parameters": {word: own(key, label) for word, key in names.items()}}
            for label, path in zip(models, paths, strict=True)
        ],
        "parameters": parameters,
        **dtypes,
    }


def _spread(value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(part, (int, float)) for part in value):
        return value
    return [*({"filter": name, "value": value[-1]} for name in ("lm_head", "model.norm")), {"value": value}]


def from_mergekit(told: Mapping[str, Any]) -> Translated:
    """A recipe of mergekit as one of ours, and where the result differs from mergekit's, one sentence each.

    Raises:
        ValueError: of a method, or with an option, whose meaning cannot be kept.
    """
    name = str(told["merge_method"])
    if name not in MERGEKIT:
        raise ValueError(f"mergekit's {name} is not known here; known are {', '.join(sorted(MERGEKIT))}")
    for key in ("slices", "modules"):
        if key in told:
            raise ValueError(f"recipes with {key} (layers taken apart) are not merged here; give whole models")
    known = {"merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "tokenizer_source"}
    only(told, known | {"tokenizer", "chat_template"}, "mergekit")
    ours, normalises = MERGEKIT[name]
    notes: list[str] = []
    check_kinds(told)
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
    if ours == "slerp-delta":
        parameters["t"] = _arc(merged_here, parameters)
    labels = {path: f"model{i}" for i, (path, _) in enumerate(merged_here)}
    recipe["models"] = {labels[path]: path for path, _ in merged_here}
    if METHODS[ours].needs_base:
        recipe["base"] = need(told, "base_model")
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


def _arc(models: list[tuple[str, dict[str, Any]]], parameters: dict[str, Any]) -> float:
    """Where on the arc the weights of mergekit's nuslerp lie: the share of the second model."""
    weights = [own.pop("weight", parameters.get("weight")) for _, own in models]
    if len(weights) != 2 or not all(isinstance(w, (int, float)) and w >= 0 for w in weights) or sum(weights) == 0:
        raise ValueError(f"mergekit's nuslerp takes two models and a weight of at least 0 for each, got {weights}")
    return float(weights[1] / sum(weights))


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
) -> Translated:
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
) -> Translated:
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
    return recipe, tuple(notes)
