"""Keep what has been attended to most.

Zhang et al. 2023 (H2O), arXiv:2306.14048: a few "heavy hitters" collect most of the attention. Their attention is summed up
over all queries so far, while the text is read and while it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from tameshi.kv.attention import attention_mass
from tameshi.kv.policy import Entries, Policy


@dataclass(frozen=True, kw_only=True)
class H2OPolicy(Policy):
    """Score: the attention received from all queries so far, summed.

    Args:
        per_query: divide by the number of queries that could see the entry, which otherwise favours early ones (called
            observed attention in kvpress).
    """

    per_query: bool = False
    reads_queries: ClassVar[bool] = True

    def observe(self, entries: Entries) -> Entries:
        """Add what the queries of this pass give to every entry."""
        assert entries.queries is not None
        mass = attention_mass(entries.queries, entries.keys, entries.positions, entries.seen, entries.scaling)
        before = entries.slots.get("attention")
        return replace(entries, slots=entries.slots | {"attention": mass if before is None else before + mass})

    def scores(self, entries: Entries) -> Tensor:
        """(batch, kv_heads, length), float32."""
        attention = entries.slots["attention"]
        return attention / (entries.seen - entries.positions) if self.per_query else attention
