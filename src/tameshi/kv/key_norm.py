"""Keep the keys with the smallest norm.

Devoto et al. 2024, arXiv:2406.11430: a key with a small L2 norm tends to draw attention, so the norm alone says what may be
dropped. No calibration, no query, no attention weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tameshi.kv.policy import Entries, Policy, each_key


@dataclass(frozen=True, kw_only=True)
class KeyNormPolicy(Policy):
    """Score: the negative L2 norm of the key."""

    def scores(self, entries: Entries) -> Tensor:
        """(batch, kv_heads, length), float32."""
        return -each_key(entries.keys, lambda keys: torch.linalg.vector_norm(keys, dim=-1))
