"""Plain LoRA adapters as peft stores them: two factors for every matrix that they change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

PREFIX, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
CHANGES_THE_SUM = (  # settings under which the change is not one scaled product per matrix
    *("use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "modules_to_save", "megatron_config"),
    *("layer_replication", "trainable_token_indices", "target_parameters", "alora_invocation_tokens", "lora_bias"),
)


@dataclass(frozen=True)
class LowRank:
    """`scale * up @ down`, the change of one matrix.

    Args:
        down: (rank, columns).
        up: (rows, rank).
        scale: lora_alpha / rank, or lora_alpha / sqrt(rank) for rsLoRA.
    """

    down: Tensor
    up: Tensor
    scale: float

    def added_to(self, matrix: Tensor) -> Tensor:
        """The changed matrix, added in float32 and rounded once to the matrix's own type."""
        change = (self.up.float() @ self.down.float()).mul_(self.scale)
        return change.add_(matrix).to(matrix.dtype)


def lora_factors(
    settings: Mapping[str, Any], stored: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, LowRank] | None:
    """Parameter -> its factors; None where the adapter is more than plain LoRA, which is peft's to merge.

    Args:
        settings: its adapter_config.json.
        stored: its tensors, by peft's names.
        shapes: of the base's parameters.
    """
    if settings.get("peft_type") != "LORA" or settings.get("bias", "none") != "none":
        return None
    if any(settings.get(key) for key in CHANGES_THE_SUM):
        return None
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, (int, float)):
        return None
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    found = {}
    for name, down in stored.items():
        if not name.startswith(PREFIX) or not name.endswith((DOWN, UP)):
            return None
        if name.endswith(UP):
            continue
        module = name.removeprefix(PREFIX).removesuffix(DOWN)
        up, whole = stored.get(f"{PREFIX}{module}{UP}"), shapes.get(f"{module}.weight")
        fits = up is not None and down.ndim == up.ndim == 2 and down.shape[0] == up.shape[1] == rank
        if up is None or not fits or whole != (up.shape[0], down.shape[1]):
            return None
        found[f"{module}.weight"] = LowRank(down, up, scale)
    return found if 2 * len(found) == len(stored) else None
