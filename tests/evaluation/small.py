"""The Inspect tasks of the wing, each with options so small that one run takes a moment.

A paper says so in its own tests: `SMALL = {"task name": {option: value}}` in tests/evaluation/PAPER/test_tasks.py.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any


def small_tasks() -> dict[str, dict[str, Any]]:
    """Task name -> options, over all papers."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(Path(__file__).parent.glob("*/test_tasks.py")):
        module = importlib.import_module(f"tests.evaluation.{file.parent.name}.test_tasks")
        found |= getattr(module, "SMALL", {})
    return found
