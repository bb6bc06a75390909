"""Keep what the newest queries attend to.

Li et al. 2024 (SnapKV), arXiv:2404.14469: the attention of the last queries of a prompt tells which entries its answer will
need; scores are smoothed along the text, so that neighbours of a hit stay with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from tameshi.kv.attention import attention_mass
from tameshi.kv.policy import Entries, Policy


@dataclass(frozen=True, kw_only=True)
class SnapKVPolicy(Policy):
    """Score: mean attention of the queries in the window, averaged over neighbours.

    Under a cap at all times, where the paper is silent, the newest `window_length` queries are remembered (our choice).

    Args:
        kernel: how many neighbours are averaged; odd.
    """

    kernel: int = 5
    reads_queries: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and at least 1, got {self.kernel}")
        if self.window_length < 1:
            raise ValueError("window_length must be at least 1: SnapKV scores by the queries in it")

    @property
    def queries_kept(self) -> int:
        """Those of the window."""
        return self.window_length

    def scores(self, entries: Entries) -> Tensor:
        """(batch, kv_heads, length), float32; what stands in the window is left at 0, it is kept anyway."""
        assert entries.queries is not None
        newest = entries.queries[..., -self.window_length :, :]
        mass = attention_mass(newest, entries.keys, entries.positions, entries.seen, entries.scaling)
        older = mass[..., : -self.window_length] / newest.shape[-2]
        smooth = nn.functional.avg_pool1d(older, self.kernel, stride=1, padding=self.kernel // 2)
        return nn.functional.pad(smooth, (0, self.window_length))
