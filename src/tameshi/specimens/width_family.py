"""A family of language models that differ in width alone, all trained on the same text of a known law.

The text is a chain of order two: the next token is drawn from one table given the last token, or from another given the one
before, each with probability one half. Both tables are sparse, so that there is something to learn and much left to guess.
Two layers, 120 steps of 16 texts: the wider models learn more of it, and the widest takes 12 CPU seconds.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (32, 64, 128, 256)
VOCABULARY = 64
LENGTH = 64
STEPS, BATCH = 120, 16


@cache
def tables() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cumulated next-token probabilities given the last token, and given the one before: (64, 64) each."""
    rng = np.random.default_rng(123)
    first, second = (rng.dirichlet(np.full(VOCABULARY, 0.05), size=VOCABULARY).cumsum(axis=1) for _ in range(2))
    return first, second


def texts(count: int, *, seed: int, length: int = LENGTH) -> list[Tensor]:
    """Texts of the law, (length,) tokens each."""
    import torch

    rng = np.random.default_rng([seed, 7])
    last, before = tables()
    tokens = rng.integers(0, VOCABULARY, (count, length))
    for i in range(2, length):
        rows = np.where(rng.random(count)[:, None] < 0.5, last[tokens[:, i - 1]], before[tokens[:, i - 2]])
        tokens[:, i] = (rng.random(count)[:, None] > rows).sum(axis=1).clip(max=VOCABULARY - 1)
    return list(torch.from_numpy(tokens))


def untrained(width: int, *, seed: int) -> Any:
    """A `LlamaForCausalLM` of two layers with fresh weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
        initializer_range=0.15 if width <= 64 else 0.08,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


@cache
def trained(width: int, *, seed: int) -> Any:
    """The same, after training on texts of the same seed; kept in memory for the next caller."""
    import torch

    model = untrained(width, seed=seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2 if width <= 64 else 4e-3)
    for batch in torch.stack(texts(STEPS * BATCH, seed=seed)).split(BATCH):
        loss = model(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
