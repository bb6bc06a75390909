"""What may stand under the keys of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATHS = ("pre", "inst", "base", "instruct", "target", "residual", "base_model")
SWITCHES = ("rank_extra", "allow_unrelated")


def check_kinds(told: Mapping[str, Any]) -> None:
    """Refuse a path that is none, a switch that is neither true nor false, a seed that is no whole number.

    Raises:
        ValueError: names the key and the value.
    """
    for key, value in told.items():
        if key in PATHS and not isinstance(value, (str, Path)):
            raise ValueError(f"{key} must be a path, got {value!r}")
        if key in SWITCHES and not isinstance(value, bool):
            raise ValueError(f"{key} must be true or false, got {value!r}")
        if key == "seed" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"seed must be a whole number, got {value!r}")


def need(told: Mapping[str, Any], key: str) -> Any:
    """The value of a key that a recipe must have.

    Raises:
        ValueError: it does not have it.
    """
    if key not in told:
        raise ValueError(f"the recipe lacks the key {key}")
    return told[key]


def only(told: Mapping[str, Any], known: set[str], what: str) -> None:
    """Refuse keys that a recipe of that kind does not know.

    Raises:
        ValueError: names the first, and those that are known.
    """
    if unknown := sorted(set(told) - known):
        raise ValueError(f"a recipe of {what} has no key {unknown[0]!r}; it knows {', '.join(sorted(known))}")
