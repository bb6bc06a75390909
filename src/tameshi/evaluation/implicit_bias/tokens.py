"""Texts as token ids for a transformers model, and what kind of model it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    import torch
except ImportError as error:  # pragma: no cover
    raise ImportError("measures on model probabilities need torch: pip install 'tameshi[evaluation]'") from error


def is_causal(model: Any) -> bool:
    """Whether a model reads forward, by the architecture that its configuration names."""
    names = getattr(model.config, "architectures", None) or [type(model).__name__]
    return not any("MaskedLM" in n for n in names)


def device_of(model: Any) -> torch.device:
    """Where a model's parameters lie."""
    device: torch.device = next(iter(model.parameters())).device
    return device


def token_ids(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    """Token ids of a text, with the tokenizer's own special tokens or without.

    Raises:
        ValueError: the tokenizer makes none of it.
    """
    ids = list(tokenizer(text, add_special_tokens=special)["input_ids"])
    if not ids:
        raise ValueError(f"the tokenizer makes no token of {text!r}")
    return ids


def padded(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, longest) token ids with 0 behind the shorter ones, and the attention mask of the same shape."""
    longest = max(len(r) for r in rows)
    ids = torch.tensor([r + [0] * (longest - len(r)) for r in rows], device=device)
    mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows], device=device)
    return ids, mask


__all__ = ["device_of", "is_causal", "padded", "token_ids", "torch"]
