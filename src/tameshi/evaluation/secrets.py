"""Keys and passwords of this machine do not travel: what is sent, logged or reported passes through `redacted`."""

from __future__ import annotations

import os
import re
from typing import TypeVar

T = TypeVar("T")

_NAMES = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\bey[A-Za-z0-9_-]{10,}\.ey[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
SHORTEST = 8  # characters; a shorter value of such a variable would black out ordinary words


def redacted(text: str) -> str:
    """The text without what looks like a key, and without the values of this process's secret environment variables."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and _NAMES.search(name) and value in text:
            text = text.replace(value, f"[{name}]")
    return _SHAPES.sub("[key]", text)


def redacted_within(value: T) -> T:
    """The same lists and mappings with every text in them redacted."""
    held: object = value
    if isinstance(held, str):
        held = redacted(held)
    elif isinstance(held, dict):
        held = {key: redacted_within(each) for key, each in held.items()}
    elif isinstance(held, list | tuple):
        held = type(held)(redacted_within(each) for each in held)
    return held  # type: ignore[return-value]  # what came in went out, text by text
