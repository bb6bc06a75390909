"""Reference: keep everything."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from torch import Tensor

from tameshi.kv.policy import Entries, Policy


@dataclass(frozen=True, kw_only=True)
class FullPolicy(Policy):
    """Never evicts; what the others are measured against, in the same socket."""

    max_length: int | None = sys.maxsize

    def scores(self, entries: Entries) -> Tensor:
        """All alike."""
        return entries.positions.new_zeros(entries.positions.shape).float()
