"""What all tests share: a shelf with a toy paper, a home of their own, tiny models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ["TAMESHI_SHELF"] = str(Path(__file__).parent / "toys")  # before anything of tameshi is imported
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")  # for the processes that tests start
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of each test's own."""
    monkeypatch.setenv("TAMESHI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def tiny_llama(tmp_path: Path) -> Callable[..., Path]:
    """Makes folders with a random two-layer Llama of 32 tokens and a word-level tokenizer."""

    def make(name: str = "tiny", *, words: int = 32, **settings: object) -> Path:
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        torch.manual_seed(0)
        sizes = {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        }
        config = LlamaConfig(
            **{"vocab_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **sizes, **settings}
        )
        folder = tmp_path / name
        LlamaForCausalLM(config).save_pretrained(folder)
        vocabulary = {f"w{i}": i for i in range(words)}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="w0", bos_token="w1", eos_token="w2"
        ).save_pretrained(folder)
        return folder

    return make
