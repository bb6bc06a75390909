"""How the Inspect task of the matrix nuclear norm is run small; what it scores is tested in test_report.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SMALL: dict[str, dict[str, Any]] = {"representation_compression": {"n": 1, "characters": 40}}


def planted(folder: Path, secret: str) -> dict[str, dict[str, Any]]:
    """Options of the tasks in whose data a secret stands."""
    (folder / "texts.txt").write_text(f"Here is {secret}.\n\nAnd {secret} again.")
    return {"representation_compression": {"path": str(folder / "texts.txt")}}
