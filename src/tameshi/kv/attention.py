"""Watching a model's attention from outside: through the attention interface of transformers, with any architecture on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Watcher: TypeAlias = Callable[[int, Tensor, Tensor, float], None]
"""Called after every attention with the layer's index, queries, keys, and the factor of the logits.

Queries are (batch, heads, query_length, head_dim), keys (batch, kv_heads, length, head_dim), both after rotary embedding.
"""

_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextlib.contextmanager
def watched(model: PreTrainedModel, watcher: Watcher) -> Iterator[None]:
    """Let a function see the queries and keys of every attention while the block runs.

    The attention itself is computed as before; only a model that was opened with eager attention runs on sdpa meanwhile.
    """
    stop = watch(model, watcher)
    try:
        yield
    finally:
        stop()


def watch(model: PreTrainedModel, watcher: Watcher) -> Callable[[], None]:
    """Like `watched`, for where the beginning and the end stand in different functions; call what it returns to stop."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_watching(before))
    token = _WATCHER.set(watcher)

    def stop() -> None:
        _WATCHER.reset(token)
        model.set_attn_implementation(before)

    return stop


def _watching(implementation: str) -> str:
    """Name of the attention function that computes like `implementation` and calls the watcher."""
    if implementation.startswith("watched_"):
        return implementation
    if implementation not in ALL_ATTENTION_FUNCTIONS:
        implementation = "sdpa"
    name = f"watched_{implementation}"
    if name not in ALL_ATTENTION_FUNCTIONS:
        AttentionInterface.register(name, partial(_attend, ALL_ATTENTION_FUNCTIONS[implementation]))
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[implementation])
    return name


def _attend(
    attention: Callable[..., Any],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **settings: Any,
) -> Any:
    attended = attention(module, query, key, value, attention_mask, scaling=scaling, **settings)
    watcher, layer = _WATCHER.get(), module.layer_idx
    if watcher is not None:
        assert isinstance(layer, int)
        watcher(layer, query, key, query.shape[-1] ** -0.5 if scaling is None else scaling)
    return attended


@torch.no_grad()
def attention_mass(
    queries: Tensor, keys: Tensor, positions: Tensor, seen: int, scaling: float, *, block: int = 256
) -> Tensor:
    """How much attention every key receives from some queries in all: column sums of the causal softmax.

    The (query, key) matrix is never held whole: rows are done in blocks.

    Args:
        queries: (batch, heads, query_length, head_dim), the newest ones of the `seen` tokens read so far.
        keys: (batch, kv_heads, length, head_dim).
        positions: (batch, kv_heads, length), of the keys.
        seen: tokens read so far; the last query is at seen - 1.
        scaling: factor of the logits.
        block: queries at a time.

    Returns:
        (batch, kv_heads, length), float32: summed over queries, averaged over the query heads that share a key.
    """
    batch, heads, query_length, dim = queries.shape
    kv_heads, length = keys.shape[1:3]
    grouped = queries.view(batch, kv_heads, heads // kv_heads, query_length, dim)
    columns = keys.float().transpose(-1, -2)[:, :, None]  # (batch, kv_heads, 1, head_dim, length)
    mass = torch.zeros(batch, kv_heads, length, device=keys.device)
    for start in range(0, query_length, block):
        rows = grouped[..., start : start + block, :].float()
        at = torch.arange(start, start + rows.shape[-2], device=keys.device) + seen - query_length
        hidden = positions[:, :, None, None, :] > at[:, None]
        logits = (rows @ columns * scaling).masked_fill(hidden, -torch.inf)
        mass += logits.softmax(-1).sum(-2).mean(2)
    return mass
