"""What stands in for the model, to show whether its score says anything.

*untrained*: the same architecture with fresh weights. *rotated*: the same hidden states after a random rotation of the
features, which changes no distance between tokens. *null* (`norms.null_score`): the value if all column norms were equal,
computed from length and width alone. *shuffled*: the same tokens in random order. A score that the controls share is a property
of the width and the length of the text, not of what the model has learnt.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from tameshi.evaluation.matrix_nuclear_norm.norms import haar_rotation
from tameshi.evaluation.matrix_nuclear_norm.reading import Read

Control: TypeAlias = Literal["untrained", "rotated", "null", "shuffled"]
CONTROLS: tuple[Control, ...] = get_args(Control)


def untrained_twin(model: Any, *, seed: int = 0) -> Any:
    """The same architecture with fresh weights, on the same device and in the same precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = type(model)(copy.deepcopy(model.config))
    return twin.to(device=model.device, dtype=model.dtype).eval()


def rotated(read: Read, *, seed: int = 0) -> Read:
    """The same hidden states after one rotation of their features, in float64; there is no loss to them."""
    rotation = haar_rotation(read[0][0].shape[-1], seed=seed)
    return [(hidden.double() @ rotation.to(hidden.device), math.nan) for hidden, _ in read]


def shuffled(texts: Sequence[Tensor], *, seed: int = 0, keep: int = 0) -> list[Tensor]:
    """The same tokens in random order.

    Args:
        texts: (tokens,) each.
        seed: of the orders.
        keep: so many tokens stay at the beginning.
    """
    generator = torch.Generator().manual_seed(seed)
    orders = [keep + torch.randperm(len(ids) - keep, generator=generator) for ids in texts]
    return [torch.cat([ids[:keep], ids[order]]) for ids, order in zip(texts, orders, strict=True)]
