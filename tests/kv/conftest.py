from __future__ import annotations

import pytest
from tests.kv.random_models import random_model
from transformers import PreTrainedModel


@pytest.fixture
def llama() -> PreTrainedModel:
    """Shared by all tests: whoever changes it makes its own."""
    return random_model("llama")
