"""Whether asking a model leaves this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from inspect_ai.model import Model

IN_PROCESS = ("tameshi", "hf", "mockllm", "none")


def is_loopback(base_url: str) -> bool:
    """Whether a base URL names this machine."""
    return (urlsplit(base_url).hostname or "") in ("127.0.0.1", "::1", "localhost")


def base_url_of(provider: str) -> str:
    """The base URL that the environment sets for a provider of Inspect AI; empty if none."""
    return os.environ.get(f"{provider.upper().replace('-', '_')}_BASE_URL", "")


def is_local(model: Model) -> bool:
    """Whether nothing leaves this machine when the model is asked."""
    provider = str(model).partition("/")[0]
    return provider in IN_PROCESS or is_loopback(model.api.base_url or base_url_of(provider))
