"""The Inspect tasks of the wing, each with options so small that one run takes a moment.

A paper says so in its own tests, in tests/evaluation/PAPER/test_tasks.py: `SMALL = {"task": {option: value}}`, and, where
a task reads data of the user, `planted(folder, secret)` with the options of a run in whose data a secret stands.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


def small_tasks() -> dict[str, dict[str, Any]]:
    """Task name -> options, over all papers."""
    return {name: options for module in _modules() for name, options in module.SMALL.items()}


def planted_tasks(folder: Path, secret: str) -> dict[str, dict[str, Any]]:
    """The same with a secret in the data, where a task has any; the files are written into the folder."""
    found = small_tasks()
    for module in _modules():
        if hasattr(module, "planted"):
            place = folder / module.__name__.split(".")[-2]
            place.mkdir()
            found |= module.planted(place, secret)
    return found


def _modules() -> Iterator[ModuleType]:
    for file in sorted(Path(__file__).parent.glob("*/test_tasks.py")):
        yield importlib.import_module(f"tests.evaluation.{file.parent.name}.test_tasks")
