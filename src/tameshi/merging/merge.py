"""The engine: hold models against each other, then merge them tensor by tensor.

merge({"general": "path/a", "safe": "path/b"}, method="ties", base="path/base", densities=0.5).save_pretrained("out")
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tameshi.merging.fit import Resize, check_fit
from tameshi.merging.layers import count_blocks, depth, resolve
from tameshi.merging.merged import Merged, Recipe
from tameshi.merging.method import MergeMethod, Setting, method_named
from tameshi.merging.weights import Weights, weights_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def merge(
    models: Mapping[str, Any],
    *,
    method: str | MergeMethod = "linear",
    base: Any = None,
    target: Any = None,
    companions: Mapping[str, Any] | None = None,
    seed: int = 0,
    dtype: str | None = None,
    resize: Resize = "no",
    tokenizer: str | None = None,
    allow_unrelated: bool = False,
    recipe: Recipe | None = None,
    **settings: Any,
) -> Merged:
    """Merge models of one architecture.

    Args:
        models: label -> folder, `PreTrainedModel`, state dict, PEFT adapter or `Weights`.
        method: "linear", "ties", ...: a key of `METHODS`.
        base: the common ancestor, for the methods that merge around one.
        target: a relative of the base that the changes are put on, for `transplant`.
        companions: role -> models that are not merged, but must fit, and may give the tokenizer.
        seed: of random methods; with it, the tensor's name and the model's label decide every mask.
        dtype: of the result; None for that of the base (or the first model).
        resize: "min-rows" where embeddings differ in their rows: the rows that all have are merged, the others are
            taken from the model that gives the tokenizer.
        tokenizer: label (or "base") of the model whose configuration, tokenizer and chat template the result takes;
            None for the base, or the first model.
        allow_unrelated: merge around a base that the models do not descend from.
        recipe: what the model card says, where a caller knows better than the settings.
        settings: those of the method (`weights`, `densities`, `scale`, `t`, ...). A number; a list of numbers, which
            is a gradient over the depth; a list of {"filter", "value"}; a function of the parameter's name. A setting
            per model is one of these for all, a mapping from labels, or a list of them.

    Raises:
        ValueError: the method does not know a setting, or the models do not fit (`DoesNotFit`); before anything is
            read twice.
    """
    method = method_named(method) if isinstance(method, str) else method
    _refuse_misuse(method, models, base, target, settings, dtype)
    origin = weights_of(base) if method.needs_base else None
    place = weights_of(target, base=base) if method.needs_target else None
    opened = {label: weights_of(model, base=base) for label, model in models.items()}
    around = {role: w for role, w in (("target", place), ("base", origin)) if w is not None}
    beside = {role: weights_of(model, base=base) for role, model in (companions or {}).items()}
    others = opened | beside | ({"target": place} if place is not None else {})
    fit = check_fit(others, origin, resize=resize, allow_unrelated=allow_unrelated)
    everyone = around | opened | beside
    first = next(iter(everyone.values()))
    if tokenizer is not None and tokenizer not in everyone:
        raise ValueError(f"tokenizer must name one of {', '.join(everyone)}, got {tokenizer!r}")
    looks = everyone[tokenizer] if tokenizer else first
    chosen = {
        name: _per_model(s, settings[name], list(models)) for name, s in method.settings.items() if name in settings
    }
    if "weights" in method.settings and "weights" not in chosen:
        chosen["weights"] = [1.0] * len(models)
    blocks = count_blocks(first.shapes)

    def settings_of(name: str) -> dict[str, Any]:
        position = depth(name, blocks)
        found: dict[str, Any] = {}
        for key, value in chosen.items():
            if method.settings[key].per_model:
                found[key] = [method.settings[key].checked(_resolved(v, name, position)) for v in value]
            else:
                found[key] = method.settings[key].checked(_resolved(value, name, position))
        if method.draws:
            found["draws"] = [_generator(seed, name, label) for label in models]
        return found

    def compute(name: str) -> Tensor:
        if not first.floating(name):
            return first.read(name)
        tensors = {role: w.read(name) for role, w in (around | opened).items()}
        if (common := fit.rows.get(name)) is not None:
            tensors = {role: tensor[:common] for role, tensor in tensors.items()}
        wanted, lead = dtypes[name], next(iter(tensors))
        if wanted.itemsize > tensors[lead].dtype.itemsize:
            tensors[lead] = tensors[lead].to(wanted)  # methods give the storage type of what leads; widening is exact
        roles = {role: tensors.pop(role) for role in around}
        result = method(list(tensors.values()), **roles, **settings_of(name)).to(wanted)
        if common is not None and (rest := looks.read(name)[common:]).shape[0]:
            result = torch.cat([result, rest.to(wanted)])
        return result

    for name in first.shapes:
        settings_of(name)  # a filter that fits no parameter, or a value that is no number, is found now
    dtypes = {n: DTYPES[dtype] if dtype and first.floating(n) else first.dtypes[n] for n in first.shapes}
    shapes = {n: looks.shapes[n] if n in fit.rows else first.shapes[n] for n in first.shapes}
    told = recipe or Recipe(method.name, method.title, method.papers, _told(opened, around, chosen, method, seed))
    return Merged(told, everyone, shapes, dtypes, compute, looks, fit.notes)


def _refuse_misuse(
    method: MergeMethod,
    models: Mapping[str, Any],
    base: Any,
    target: Any,
    settings: Mapping[str, Any],
    dtype: str | None,
) -> None:
    if not models:
        raise ValueError("a merge needs at least one model")
    if "base" in models:
        raise ValueError(
            "a model cannot be labelled 'base', which is the name of the common ancestor; choose another label"
        )
    if method.count is not None and len(models) != method.count:
        raise ValueError(f"{method.title} merges exactly {method.count} models, got {len(models)}: {', '.join(models)}")
    if method.needs_base and base is None:
        raise ValueError(f"{method.title} merges around a common ancestor; pass base")
    if method.needs_target != (target is not None):
        raise ValueError(f"{method.title} {'needs a target' if method.needs_target else 'takes no target'}")
    unknown = sorted(set(settings) - set(method.settings))
    if unknown:
        raise ValueError(f"{method.name} has no setting {unknown[0]!r}; it has {', '.join(method.settings) or 'none'}")
    if dtype is not None and (not isinstance(dtype, str) or dtype not in DTYPES):
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")


def _per_model(setting: Setting, value: Any, labels: Sequence[str]) -> Any:
    """One value per model, in the order of the models."""
    if not setting.per_model:
        return value
    if isinstance(value, Mapping) and set(value) == set(labels):
        return [value[label] for label in labels]
    if isinstance(value, Mapping):
        raise ValueError(f"{setting.name} must be given for {', '.join(labels)}, got {', '.join(map(str, value))}")
    if isinstance(value, (list, tuple)):
        if len(value) != len(labels):
            raise ValueError(f"{setting.name} must be one value per model ({', '.join(labels)}), got {len(value)}")
        return list(value)
    return [value] * len(labels)


def _resolved(value: Any, name: str, position: float) -> Any:
    return value(name) if callable(value) else resolve(value, name, position)


def _generator(seed: int, name: str, label: str) -> torch.Generator:
    """Every tensor of every model has draws of its own, whatever the order in which they are merged."""
    digest = hashlib.sha256(f"{seed}\n{label}\n{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _told(
    models: Mapping[str, Weights],
    around: Mapping[str, Weights],
    chosen: Mapping[str, Any],
    method: MergeMethod,
    seed: int,
) -> dict[str, Any]:
    told: dict[str, Any] = {role: weights.label for role, weights in around.items()}
    per_model = {key for key in chosen if method.settings[key].per_model}
    told["models"] = {
        label: {"path": weights.label} | {key: _plain(chosen[key][i]) for key in sorted(per_model)}
        for i, (label, weights) in enumerate(models.items())
    }
    told |= {key: _plain(value) for key, value in chosen.items() if key not in per_model}
    return told | ({"seed": seed} if method.draws else {})


def _plain(value: Any) -> Any:
    return "per parameter" if callable(value) else value
