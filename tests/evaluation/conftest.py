"""What the tests of the evaluation wing share: a tiny chat model, and sockets that reach no further than this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.offline import offline
from tests.evaluation.tiny import save_tiny_chat

__all__ = ["offline", "tiny_chat"]


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained chat model of two layers, in the form that `--model DIR` and `hf/local` open."""
    return save_tiny_chat(tmp_path_factory.mktemp("tiny-chat"))
