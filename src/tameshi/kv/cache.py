"""A transformers cache that holds a bounded number of entries, and really frees the rest.

    cache = BudgetCache(model, StreamingLLMPolicy(max_length=1024))
    model.generate(**inputs, past_key_values=cache)

The cache counts two lengths. Logically it is as long as the text read, so that positions go on where they should; physically
it holds what its policy kept. While nothing has been evicted it computes, bit for bit, what `DynamicCache` computes. A pass
attends to everything that it brought itself; eviction comes after.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tameshi.kv.attention import watch
from tameshi.kv.policy import Entries, Policy
from tameshi.kv.rotary import Rotary

FOREIGN = "this cache was made for another model; make one with BudgetCache(model, policy)"


class BudgetLayer(DynamicLayer):
    """One layer of a `BudgetCache`.

    Args:
        policy: says what stays.
        layer: index of the layer.
        rotary: of the model, for policies that move keys.
        once: evict after the first pass only.
    """

    is_croppable = False

    def __init__(self, policy: Policy, layer: int, rotary: Rotary | None = None, *, once: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers does not type its constructors
        self.policy, self.layer, self.rotary, self.once = policy, layer, rotary, once
        self._forget()

    def _forget(self) -> None:
        self.seen = self.passes = 0
        self.positions: Tensor | None = None
        self.slots: dict[str, Tensor] = {}
        self.queries: Tensor | None = None

    @property
    def physical(self) -> int:
        """Entries held per head."""
        return 0 if self.keys is None or self.keys.numel() == 0 else self.keys.shape[-2]

    @property
    def evicting(self) -> bool:
        """Whether the next pass may be followed by an eviction."""
        return not self.once or self.passes == 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append a pass; returns everything that it attends to, as `DynamicLayer` does."""
        keys, values = super().update(key_states, value_states)
        batch, heads, added, _ = key_states.shape
        first = self.physical - added if self.policy.moves_positions else self.seen
        new = torch.arange(first, first + added, dtype=torch.int32, device=keys.device).expand(batch, heads, -1)
        self.positions = new.contiguous() if self.positions is None else torch.cat([self.positions, new], dim=-1)
        self.slots = {name: nn.functional.pad(slot, (0, added)) for name, slot in self.slots.items()}
        self.seen += added
        if not self.policy.reads_queries:
            self._pass_is_over()
        return keys, values

    def attended(self, queries: Tensor, scaling: float) -> None:
        """Take the queries of the pass that `update` began."""
        if self.evicting:
            known = queries if self.queries is None else torch.cat([self.queries, queries], dim=-2)
            newest = max(queries.shape[-2], self.policy.queries_kept)
            observed = self.policy.observe(replace(self._entries(), queries=known[..., -newest:, :], scaling=scaling))
            self.slots = observed.slots
            self._pass_is_over(observed)
            remembered = 0 if self.once else self.policy.queries_kept
            self.queries = known[..., known.shape[-2] - remembered :, :].clone() if remembered else None

    def _pass_is_over(self, entries: Entries | None = None) -> None:
        evicting = self.evicting
        self.passes += 1
        budget = self.policy.budget(self.seen)
        if evicting and self.physical > budget:
            kept = self.policy.compress(entries or self._entries(), budget)
            self.keys, self.values, self.positions, self.slots = kept.keys, kept.values, kept.positions, kept.slots

    def _entries(self) -> Entries:
        assert self.keys is not None
        assert self.values is not None
        assert self.positions is not None
        return Entries(
            self.keys, self.values, self.positions, self.layer, self.seen, slots=self.slots, rotary=self.rotary
        )

    def get_seq_length(self) -> int:
        """Tokens read: positions go on from here."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Entries that the next pass attends to, and the offset that lets a causal mask over them see them all."""
        return self.physical + query_length, self.seen - self.physical

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse to take tokens back: what was evicted for them is gone."""
        if tokens_to_remove:
            raise ValueError("a budgeted cache cannot take tokens back; generate without an assistant model")

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._forget()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Let every row continue the row that a beam search chose for it."""
        self._for_rows(lambda tensor: tensor.index_select(0, beam_idx.to(tensor.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        self._for_rows(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        self._for_rows(lambda tensor: tensor[indices, ...])

    def _for_rows(self, change: Callable[[Tensor], Tensor]) -> None:
        if self.physical == 0:
            return
        assert self.keys is not None
        assert self.values is not None
        assert self.positions is not None
        self.keys, self.values, self.positions = change(self.keys), change(self.values), change(self.positions)
        self.slots = {name: change(slot) for name, slot in self.slots.items()}
        self.queries = None if self.queries is None else change(self.queries)


class BudgetCache(Cache):
    """A cache under a budget: `model.generate(**inputs, past_key_values=BudgetCache(model, policy))`.

    Works with greedy search, sampling, beams, batches of prompts of equal length, and with a conversation that goes on
    with the same cache.

    Args:
        model: that it is for.
        policy: what is kept, and how much of it.
        once: evict after the first pass only, that is the prompt; what is generated then adds to it.
        windows: what to do about layers that attend through a sliding window, which is bounded as it is: refuse the model,
            or keep theirs and budget the others.

    Raises:
        ValueError: the policy was made for another model, or a layer of the model has no keys that could be chosen from.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        policy: Policy,
        *,
        once: bool = False,
        windows: Literal["refuse", "keep"] = "refuse",
    ) -> None:
        if windows not in ("refuse", "keep"):
            raise ValueError(f"windows must be 'refuse' or 'keep', got {windows!r}")
        policy.suits(model)
        rotary = Rotary(model) if policy.uses_rotary else None
        layers: list[Any] = DynamicCache(config=model.config).layers
        _refuse_layers(model, layers, windows)
        for index, layer in enumerate(layers):
            if not isinstance(layer, DynamicSlidingWindowLayer):
                layers[index] = BudgetLayer(policy, index, rotary, once=once)
        super().__init__(layers=layers)
        self.policy, self.once = policy, once
        self._made_for = weakref.ref(model.base_model)
        self._in_pass = False
        self._stop_watching: Callable[[], None] | None = None
        body = model.base_model
        if body not in _GUARDED:
            body.register_forward_pre_hook(_before_pass, with_kwargs=True)
            body.register_forward_hook(_after_pass, with_kwargs=True, always_call=True)
            _GUARDED.add(body)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """As any cache; called by the model's attention.

        Raises:
            ValueError: by the attention of another model than the cache was made for.
        """
        if not self._in_pass:
            raise ValueError(FOREIGN)
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    @property
    def budgeted(self) -> list[BudgetLayer]:
        """The layers under the budget."""
        return [layer for layer in self.layers if isinstance(layer, BudgetLayer)]

    @property
    def held_bytes(self) -> int:
        """Memory that the entries of all layers hold, with everything that is remembered about them."""
        held: list[Tensor | None] = []
        for layer in self.layers:
            held += [getattr(layer, "keys", None), getattr(layer, "values", None)]
            if isinstance(layer, BudgetLayer):
                held += [layer.positions, layer.queries, *layer.slots.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held if tensor is not None)


def _refuse_layers(model: PreTrainedModel, layers: list[Any], windows: str) -> None:
    config = model.config.get_text_config(decoder=True)
    sliding = [i for i, layer in enumerate(layers) if isinstance(layer, DynamicSlidingWindowLayer)]
    strange = {i: type(layer).__name__ for i, layer in enumerate(layers) if type(layer) is not DynamicLayer}
    strange = {i: name for i, name in strange.items() if i not in sliding}
    if getattr(config, "kv_lora_rank", None) is not None:
        raise ValueError(
            f"{type(model).__name__} caches latent vectors in place of keys, which no policy here can score"
        )
    if strange:
        index, name = next(iter(strange.items()))
        raise ValueError(
            f"layer {index} of {type(model).__name__} is cached as {name}, where there is nothing to choose"
        )
    if len(sliding) == len(layers):
        raise ValueError(
            f"every layer of {type(model).__name__} attends through a sliding window, which bounds its cache"
        )
    if sliding and windows == "refuse":
        raise ValueError(
            f"{len(sliding)} of {len(layers)} layers of {type(model).__name__} attend through a sliding window, which is "
            "bounded as it is; pass windows='keep' to leave them untouched and budget the others"
        )


_GUARDED: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # models whose passes go through the two functions below


def _before_pass(body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
    cache = kwargs.get("past_key_values")
    if not isinstance(cache, BudgetCache):
        return None
    if cache._made_for() is not body:
        raise ValueError(FOREIGN)
    first = cache.budgeted[0]
    _refuse_padding(kwargs.get("attention_mask"))
    if cache.policy.moves_positions:
        given = next(t for t in (kwargs.get("inputs_embeds"), kwargs.get("input_ids"), *args) if t is not None)
        at = torch.arange(first.physical, first.physical + given.shape[1], device=given.device)
        kwargs["position_ids"] = at[None].expand(given.shape[0], -1)
    if cache.policy.reads_queries and first.evicting:
        assert isinstance(body, PreTrainedModel)

        def hand_over(layer: int, queries: Tensor, keys: Tensor, scaling: float) -> None:
            budgeted = cache.layers[layer]
            if isinstance(budgeted, BudgetLayer):
                budgeted.attended(queries, scaling)

        cache._stop_watching = watch(body, hand_over)
    cache._in_pass = True
    return args, kwargs


def _after_pass(body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    cache = kwargs.get("past_key_values")
    if isinstance(cache, BudgetCache):
        cache._in_pass = False
        if cache._stop_watching is not None:
            cache._stop_watching()
            cache._stop_watching = None


def _refuse_padding(mask: Any) -> None:
    if mask is None or (isinstance(mask, Tensor) and mask.dim() == 2 and bool(mask.all())):
        return
    raise ValueError("compressed caches need unpadded prompts of equal length: an attention mask of ones, or none")
