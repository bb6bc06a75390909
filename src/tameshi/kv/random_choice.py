"""Control: keep entries at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tameshi.kv.policy import Entries, Policy


@dataclass(frozen=True, kw_only=True)
class RandomPolicy(Policy):
    """Score: a random number, drawn anew at every eviction, for every row, head and entry.

    Args:
        seed: same seed, same choice, whatever was drawn elsewhere.
    """

    seed: int = 0

    def scores(self, entries: Entries) -> Tensor:
        """(batch, kv_heads, length), float32."""
        place = (self.seed * 1_000_003 + entries.layer) * 1_000_003 + entries.seen
        generator = torch.Generator().manual_seed(place % 2**63)
        return torch.rand(entries.positions.shape, generator=generator).to(entries.keys.device)
