"""Fitted models as a folder of two files: `model.json` with settings and numbers, `model.safetensors` with arrays.

Nothing in the folder can run code. Which classes may come out of it stands in `CLASSES`; a base that is a function
cannot be saved, a formula with a name can.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tameshi.doors import files, models
from tameshi.tabular.balls import GranularBalls
from tameshi.tabular.bayesian import BayesianMLPRegressor
from tameshi.tabular.chf import HybridCHFRegressor
from tameshi.tabular.deep_gp import DeepGPRegressor
from tameshi.tabular.ensemble import DeepEnsembleRegressor
from tameshi.tabular.gbsvr import GBSVR
from tameshi.tabular.hybrid import HybridRegressor

CLASSES = {
    made.__name__: made
    for made in (
        GBSVR,
        GranularBalls,
        DeepEnsembleRegressor,
        BayesianMLPRegressor,
        DeepGPRegressor,
        HybridRegressor,
        HybridCHFRegressor,
    )
}
FORMAT = "tameshi tabular model 1"

Arrays = dict[str, NDArray[Any]]


def save(model: Any, folder: str | os.PathLike[str], *, about: Mapping[str, Any] | None = None) -> Path:
    """Write a fitted model of this wing to a new folder.

    Args:
        model: fitted.
        folder: must not exist yet, or be empty.
        about: what the caller wants to find again, as JSON: column names, units.

    Raises:
        ValueError: a class or a value that cannot be saved.
        NotWritten: the folder holds something already, or cannot be written to.
    """
    from safetensors.numpy import save as packed

    arrays: Arrays = {}
    state = {"format": FORMAT, "about": dict(about or {}), "model": _told(model, "", arrays)}
    text = json.dumps(state, indent=2, ensure_ascii=False, allow_nan=False, default=_refuse)
    with files.writing(folder, folder=True) as beside:
        files.write(beside / "model.json", text + "\n")
        files.write(beside / "model.safetensors", packed(arrays))
    return Path(folder)


def load(folder: str | os.PathLike[str], kind: type | None = None) -> tuple[Any, dict[str, Any]]:
    """Read a folder that `save` wrote: (the fitted model, what stood in `about`).

    Args:
        folder: of the model.
        kind: the class it must be of; None takes any of this wing.

    Raises:
        ValueError: not such a folder, another version, a class that is not of this wing or not `kind`, arrays missing or
            not finite.
    """
    place = Path(folder)
    try:
        state = json.loads((place / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{place} is not a saved model: model.json does not read ({type(error).__name__})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{place / 'model.json'} does not say that it is a {FORMAT!r}")
    arrays = {name: tensor.numpy() for name, tensor in models.tensors(place / "model.safetensors")}
    try:
        model, about = _made(state["model"], arrays), dict(state["about"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place / 'model.json'} is not whole: {error}") from error
    if kind is not None and not isinstance(model, kind):
        raise ValueError(f"{place} holds a {type(model).__name__}, not a {kind.__name__}")
    return model, about


def _told(value: Any, path: str, arrays: Arrays) -> Any:
    """A value as JSON; arrays go to `arrays` under their path."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:  # names of columns
            return {"names": [str(name) for name in value]}
        arrays[path] = np.ascontiguousarray(value)
        return {"array": path}
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else {"number": repr(float(value))}
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return {"list": [_told(part, f"{path}.{place}", arrays) for place, part in enumerate(value)]}
    if type(value).__name__ in CLASSES and type(value) is CLASSES[type(value).__name__]:
        parameters = value.get_params(deep=False)
        fitted = {name: held for name, held in sorted(vars(value).items()) if name not in parameters}
        root = f"{path}." if path else ""
        return {
            "class": type(value).__name__,
            "settings": {name: _told(held, f"{root}{name}", arrays) for name, held in parameters.items()},
            "fitted": {name: _told(held, f"{root}{name}", arrays) for name, held in fitted.items()},
        }
    return _refuse(value)


def _made(told: Any, arrays: Arrays) -> Any:
    """The inverse of `_told`."""
    if not isinstance(told, dict):
        return told
    if "array" in told:
        return arrays[told["array"]]
    if "names" in told:
        return np.array(told["names"], dtype=object)
    if "number" in told:
        return float(told["number"])
    if "list" in told:
        return [_made(part, arrays) for part in told["list"]]
    if told["class"] not in CLASSES:
        raise ValueError(f"a saved model must be one of {', '.join(CLASSES)}, got {told['class']!r}")
    model = CLASSES[told["class"]](**{name: _made(held, arrays) for name, held in told["settings"].items()})
    for name, held in told["fitted"].items():
        if not name.endswith("_") and not name.startswith("n_features"):
            raise ValueError(f"a fitted value's name ends with _, got {name!r}")
        setattr(model, name, _made(held, arrays))
    return model


def _refuse(value: Any) -> Any:
    raise ValueError(
        f"a {type(value).__name__} cannot be saved without running code; "
        "use a base with a name and residuals of this wing"
    )
