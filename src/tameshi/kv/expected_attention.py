"""Keep what queries to come are expected to attend to.

Devoto et al. 2025 (Expected Attention), arXiv:2510.00636, and kvpress: queries before rotation are taken as normally
distributed, with mean m and covariance C as in the text so far. For a query at a position yet to come, the expected
attention to a key k is proportional to exp(k'Rm s + k'RCR'k s²/2), with R the rotation averaged over the positions to come
and s the factor of the logits. The attention is weighted with the norm of the value that it would bring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tameshi.kv.policy import Entries, Policy


@dataclass(frozen=True, kw_only=True)
class ExpectedAttentionPolicy(Policy):
    """Score: expected attention times the norm of the value.

    Statistics are of the queries of the newest pass, and under a cap of at least the newest `memory` ones (our choice).

    Args:
        future: how many positions ahead are averaged over.
        sinks: how many of the first entries always stay; they also stay out of the statistics.
        memory: how many of the newest queries are remembered between passes.
        covariance: use the covariance, or the mean alone.
    """

    future: int = 512
    sinks: int = 4
    memory: int = 512
    covariance: bool = True
    reads_queries: ClassVar[bool] = True

    @property
    def queries_kept(self) -> int:
        """Enough for the statistics."""
        return self.memory

    @property
    def uses_rotary(self) -> bool:
        """Queries are turned back, and on to where they are expected."""
        return True

    def scores(self, entries: Entries) -> Tensor:
        """(batch, kv_heads, length), float32."""
        assert entries.queries is not None
        assert entries.rotary is not None
        queries, seen, keys = entries.queries, entries.seen, entries.keys
        batch, heads, count, dim = queries.shape
        kv_heads = keys.shape[1]
        at = torch.arange(seen - count, seen, device=queries.device).expand(batch, 1, -1)
        plain = entries.rotary.move(queries.float(), at, torch.zeros_like(at), entries.layer)
        plain = plain[..., self.sinks if count == seen > self.sinks else 0 :, :]
        mean = plain.mean(-2, keepdim=True)

        def ahead(vectors: Tensor) -> Tensor:
            assert entries.rotary is not None
            flat = vectors.reshape(batch * heads, 1, -1, dim)
            turned = entries.rotary.expected(flat, seen, seen + self.future, entries.layer)
            return turned.reshape(batch, heads, -1, dim)

        grouped = keys.float()[:, :, None]  # (batch, kv_heads, 1, length, head_dim)
        turned = ahead(mean).view(batch, kv_heads, -1, 1, dim)
        logits = (grouped * turned).sum(-1) * entries.scaling
        if self.covariance:
            centred = ahead(plain - mean).view(batch, kv_heads, heads // kv_heads, -1, dim)
            # k'RCR'k is the mean square of the turned, centred queries' products with k: C is never turned by itself.
            spread = centred.transpose(-1, -2) @ centred / centred.shape[-2]
            logits = logits + ((grouped @ spread) * grouped).sum(-1) * entries.scaling**2 / 2
        attention = logits.softmax(-1).mean(2)
        scores: Tensor = attention * torch.linalg.vector_norm(entries.values, dim=-1, dtype=torch.float32)
        first = torch.arange(entries.length, device=keys.device) < self.sinks
        return scores.masked_fill(first, torch.inf)
