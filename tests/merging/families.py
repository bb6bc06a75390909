"""Families of tiny models: a base with random weights, and relatives that moved a little from it."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MixtralConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

TEMPLATE = "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} {% endfor %}"


def config_of(kind: str, *, tied: bool = False, vocabulary: int = 40):
    common = {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 32,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if kind == "llama":
        return LlamaConfig(**common)
    if kind == "qwen3":
        return Qwen3Config(**common, head_dim=8)
    if kind == "gemma3":
        return Gemma3TextConfig(**common, head_dim=8, query_pre_attn_scalar=8)
    return MixtralConfig(**common, num_local_experts=2, num_experts_per_tok=1)


def random_model(kind: str = "llama", *, seed: int = 0, dtype=torch.float32, **settings) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config_of(kind, **settings)).to(dtype)


def relative(model: PreTrainedModel, seed: int, size: float = 0.1) -> PreTrainedModel:
    """A copy that moved from the model by a random step, relative to the spread of each tensor."""
    moved = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in moved.parameters():
            step = torch.randn(parameter.shape, generator=draw) * (parameter.float().std(correction=0) + 0.01) * size
            parameter.add_(step.to(parameter.dtype))
    return moved


def tokenizer(words: int = 40) -> PreTrainedTokenizerFast:
    vocabulary = {
        w: i for i, w in enumerate(["<pad>", "<bos>", "<end>", "<unk>", *(f"w{i}" for i in range(words - 4))])
    }
    bare = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    bare.pre_tokenizer = WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", bos_token="<bos>", eos_token="<end>", unk_token="<unk>"
    )
    made.chat_template = TEMPLATE
    return made


def save(model: PreTrainedModel, folder: Path, *, shards: int = 1, words: int = 0) -> Path:
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // shards + 64 if shards > 1 else "5GB")
    if words:
        tokenizer(words).save_pretrained(folder)
    return folder
