"""Inspect AI, or the sentence that says how to get it."""

from __future__ import annotations

try:
    import inspect_ai  # noqa: F401
except ImportError as error:
    raise ImportError("talking to a language model needs Inspect AI: pip install 'tameshi[evaluation]'") from error
