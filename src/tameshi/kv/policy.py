"""What a policy decides: which entries of a layer's cache stay when there are more than its budget.

A policy is one idea: a score per entry. The socket it plugs into is `tameshi.kv.cache.BudgetCache`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tameshi.kv.rotary import Rotary


@dataclass(frozen=True, eq=False)
class Entries:
    """What one layer holds, in reading order.

    Args:
        keys: (batch, kv_heads, length, head_dim), after rotary embedding.
        values: (batch, kv_heads, length, value_dim).
        positions: (batch, kv_heads, length), int32: where in the text each entry was read.
        layer: index of the layer.
        seen: tokens read so far, kept or not.
        slots: further tensors (batch, kv_heads, length) that a policy keeps per entry; they go where the entry goes.
        queries: (batch, heads, query_length, head_dim), after rotary embedding: the newest queries, in reading order; None
            unless the policy reads them.
        scaling: what the model multiplies its attention logits with.
        rotary: moves keys and queries between positions.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor
    layer: int
    seen: int
    slots: dict[str, Tensor] = field(default_factory=dict)
    queries: Tensor | None = None
    scaling: float = 1.0
    rotary: Rotary | None = None

    @property
    def length(self) -> int:
        """Entries held per head."""
        return self.keys.shape[-2]

    def take(self, kept: Tensor) -> Entries:
        """The entries at `kept`, (batch, kv_heads, fewer), int64, copied: nothing holds on to the rest."""
        return replace(
            self,
            keys=rows(self.keys, kept),
            values=rows(self.values, kept),
            positions=self.positions.gather(-1, kept),
            slots={name: slot.gather(-1, kept) for name, slot in self.slots.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Policy(ABC):
    """Keeps the entries with the highest scores, and the newest ones whatever their score.

    Args:
        max_length: entries kept per head and layer.
        ratio: in its place, the share of all tokens read that is kept, in (0, 1]; never fewer than `window_length + 1`.
        window_length: how many of the newest entries are always kept.

    Raises:
        ValueError: not exactly one of max_length and ratio, or no room beside the window.
    """

    max_length: int | None = None
    ratio: float | None = None
    window_length: int = 64

    reads_queries: ClassVar[bool] = False
    """Whether scores need the model's queries, so that its attention must be watched."""

    @property
    def queries_kept(self) -> int:
        """How many of the newest queries are remembered between passes."""
        return 0

    @property
    def moves_positions(self) -> bool:
        """Whether kept entries are moved to new positions, so that later tokens count from there."""
        return False

    @property
    def uses_rotary(self) -> bool:
        """Whether `Entries.rotary` must be there."""
        return self.moves_positions

    def __post_init__(self) -> None:
        if (self.max_length is None) == (self.ratio is None):
            raise ValueError(f"give either max_length or ratio, got {self.max_length} and {self.ratio}")
        if self.window_length < 0:
            raise ValueError(f"window_length must be at least 0, got {self.window_length}")
        if self.max_length is not None and self.max_length <= self.window_length:
            raise ValueError(
                f"max_length must be above window_length ({self.window_length}), whose entries are always kept, "
                f"got {self.max_length}"
            )
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise ValueError(f"ratio is the share that is kept, in (0, 1], got {self.ratio}")

    def budget(self, seen: int) -> int:
        """Entries per head that may stay once `seen` tokens were read."""
        if self.max_length is not None:
            return self.max_length
        assert self.ratio is not None
        return max(int(seen * self.ratio), self.window_length + 1)

    def suits(self, model: PreTrainedModel) -> None:
        """Raise ValueError with one sentence if the policy was made for another model; here, it suits any."""
        return

    def observe(self, entries: Entries) -> Entries:
        """Take note of a pass, evicting or not: update `slots`. Called only if the policy reads queries."""
        return entries

    @abstractmethod
    def scores(self, entries: Entries) -> Tensor:
        """(batch, kv_heads, length), float32: the higher, the rather an entry is kept."""

    def compress(self, entries: Entries, budget: int) -> Entries:
        """What stays of entries that are more than the budget."""
        return entries.take(highest(self.scores(entries), budget, self.window_length))


def highest(scores: Tensor, budget: int, window: int = 0) -> Tensor:
    """Where the highest scores are, ties to the lower index; the last `window` places are always among them.

    Args:
        scores: (..., length), length >= budget.
        budget: how many places to keep.
        window: of these, how many are the last ones.

    Returns:
        (..., budget), int64, ascending: a cache stays in reading order.
    """
    *lead, length = scores.shape
    older, chosen = length - window, budget - window
    candidates = scores[..., :older].float().nan_to_num(nan=-torch.inf)
    kept = torch.ones(scores.shape, dtype=torch.bool, device=scores.device)
    if chosen < older:
        # The lowest score that is kept, then everything above it, then as many of its equals as there is room for.
        # torch.topk alone does not say which of two equals it takes.
        lowest = candidates.topk(chosen, sorted=False).values.amin(-1, keepdim=True) if chosen else torch.inf
        above, equal = candidates > lowest, candidates == lowest
        room = chosen - above.sum(-1, keepdim=True)
        kept[..., :older] = above | (equal & (equal.cumsum(-1, dtype=torch.int32) <= room))
    return kept.nonzero()[:, -1].view(*lead, budget)


@torch.no_grad()
def each_key(keys: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """A score of every key, computed in float32 without ever making a float32 copy of all keys.

    Half-precision keys are widened one block at a time, in a buffer that stays in the processor's cache; on a GPU, in fewer
    and larger blocks.

    Args:
        keys: (batch, kv_heads, length, head_dim), any floating dtype.
        score: from (batch, kv_heads, some, head_dim), float32, to (batch, kv_heads, some).

    Returns:
        (batch, kv_heads, length), float32.
    """
    if keys.dtype == torch.float32:
        return score(keys)
    *lead, length, dim = keys.shape
    numbers = 2**18 if keys.device.type == "cpu" else 2**25
    block = max(1, min(length, numbers // (math.prod(lead) * dim)))
    buffer = torch.empty(*lead, block, dim, device=keys.device)
    scores = torch.empty(*lead, length, device=keys.device)
    for start in range(0, length, block):
        part = keys[..., start : start + block, :]
        scores[..., start : start + block] = score(buffer[..., : part.shape[-2], :].copy_(part))
    return scores


def rows(tensor: Tensor, kept: Tensor) -> Tensor:
    """Rows of every head: (batch, heads, length, dim) at (batch, heads, fewer) gives (batch, heads, fewer, dim).

    Like `gather`, but whole rows are copied instead of single numbers.
    """
    batch, heads, length, dim = tensor.shape
    starts = torch.arange(batch * heads, device=kept.device).view(batch, heads, 1) * length
    return tensor.reshape(-1, dim).index_select(0, (kept + starts).flatten()).view(batch, heads, -1, dim)
