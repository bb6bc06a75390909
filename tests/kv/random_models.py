"""Random models of two layers, made by configuration: every architecture that a cache should know, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    PreTrainedModel,
    Qwen3Config,
)

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
CONFIGS: dict[str, Callable[..., Any]] = {
    "llama": LlamaConfig,
    "qwen3": Qwen3Config,
    "mistral": lambda **sizes: MistralConfig(sliding_window=None, **sizes),
    "gemma3": lambda **sizes: Gemma3TextConfig(
        layer_types=["full_attention"] * sizes["num_hidden_layers"], query_pre_attn_scalar=8, **sizes
    ),
    "olmo2": lambda **sizes: Olmo2Config(**{k: v for k, v in sizes.items() if k != "head_dim"}),
}


@cache
def random_model(architecture: str = "llama", dtype: torch.dtype = torch.float32, **sizes: Any) -> PreTrainedModel:
    """The same weights for the same arguments."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[architecture](**SIZES | sizes), dtype=dtype)
    return model.eval()


def random_tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(2, 96, (batch, length), generator=torch.Generator().manual_seed(seed))
