"""Keep the first entries and the newest ones.

Xiao et al. 2023 (StreamingLLM), arXiv:2309.17453: the first few tokens serve as attention sinks, which a model cannot do
without; beyond them, only what is recent stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tameshi.kv.policy import Entries, Policy


@dataclass(frozen=True, kw_only=True)
class StreamingLLMPolicy(Policy):
    """Score: later is better, except that the first entries are best.

    Args:
        sinks: how many of the first entries always stay.
        rerotate: give what is kept consecutive positions, as the paper does: keys are moved and later tokens count on from
            them. Otherwise every key stays at the position where it was read (as kvpress does).
    """

    sinks: int = 4
    rerotate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is not None and not 0 <= self.sinks < self.max_length:
            raise ValueError(f"sinks must be at least 0 and below max_length ({self.max_length}), got {self.sinks}")

    @property
    def moves_positions(self) -> bool:
        """As the paper does, if asked to."""
        return self.rerotate

    def scores(self, entries: Entries) -> Tensor:
        """(batch, kv_heads, length), float32."""
        places = torch.arange(entries.length, dtype=torch.float32, device=entries.keys.device)
        places[: self.sinks] = torch.inf  # what is kept stays in reading order, so the sinks stay in front
        return places.expand(entries.positions.shape)

    def compress(self, entries: Entries, budget: int) -> Entries:
        """Take, and move if so asked."""
        kept = super().compress(entries, budget)
        if not self.rerotate:
            return kept
        assert entries.rotary is not None
        at = torch.arange(budget, dtype=torch.int32, device=kept.keys.device).expand(kept.positions.shape)
        return replace(
            kept, keys=entries.rotary.move(kept.keys, kept.positions, at, entries.layer), positions=at.contiguous()
        )
