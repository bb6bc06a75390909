"""The two consoles: results on stdout, progress and words on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

NARROW, WIDE = 40, 140  # characters; a pipe has no width of its own


def out() -> Console:
    """Where results go; as wide as the terminal, or 140 characters into a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, soft_wrap=False)


def err() -> Console:
    """Where everything else goes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def as_json(value: Any) -> None:
    """Print JSON as a result; NaN is written as the word, never as null."""
    from tameshi.doors.screen import plain_json

    sys.stdout.write(plain_json(json.dumps(value, ensure_ascii=False, indent=2, default=str)) + "\n")
