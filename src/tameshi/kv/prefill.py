"""Compressing a prompt once it has been read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

from torch import nn
from transformers import DynamicCache, PreTrainedModel

from tameshi.kv.cache import BudgetCache
from tameshi.kv.policy import Policy


@contextlib.contextmanager
def compress_after_prefill(
    model: PreTrainedModel, policy: Policy, *, windows: Literal["refuse", "keep"] = "refuse"
) -> Iterator[None]:
    """Within the block, every new cache of the model is compressed after its first pass, the prompt.

        with compress_after_prefill(model, policy):
            model.generate(**inputs, max_new_tokens=200)

    The prompt is read with full attention, layer by layer, and each layer is cut to the budget before the next one is
    computed, so that the whole cache is never held. What is generated is added and never evicted; `BudgetCache` itself is for
    a cap at all times. A prompt given in chunks is compressed after the first of them.

    Args:
        model: the model.
        policy: what is kept, and how much of it.
        windows: as for `BudgetCache`.

    Raises:
        ValueError: as `BudgetCache` does, at once; during the block if the model is given a cache that is not empty, or not
            a `DynamicCache`.
    """
    BudgetCache(model, policy, once=True, windows=windows)  # what is refused is refused before anything is read

    def swap(body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        cache, wanted = kwargs.get("past_key_values"), kwargs.get("use_cache")
        if isinstance(cache, BudgetCache):
            return None
        if cache is None and not (model.config.use_cache if wanted is None else wanted):
            return None
        if cache is not None and (type(cache) is not DynamicCache or cache.get_seq_length()):
            raise ValueError(
                f"a prompt is compressed into a new cache, but the model was given a {type(cache).__name__} "
                f"that holds {cache.get_seq_length()} tokens; leave past_key_values out"
            )
        kwargs["past_key_values"] = BudgetCache(model, policy, once=True, windows=windows)
        return args, kwargs

    hook = model.base_model.register_forward_pre_hook(swap, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        hook.remove()
