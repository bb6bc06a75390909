"""What stands in for a fine-tuned model as a control: as long a step from its start, but a meaningless one."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch

BLOCK = re.compile(r"\.(\d+)\.")  # the first number between dots in a parameter's name


def random_step(start: Any, tuned: Any, seed: int) -> Any:
    """A model as far from the start as the tuned one in every tensor, in a random direction.

    Args:
        start, tuned: models of one architecture, both left as they are.
        seed: of the directions.
    """
    draw = torch.Generator().manual_seed(seed)
    stepped, theirs = copy.deepcopy(start), dict(tuned.named_parameters())
    with torch.no_grad():
        for name, tensor in stepped.named_parameters():
            length = (theirs[name].to(tensor.device).float() - tensor.float()).norm()
            direction = torch.randn(tensor.shape, generator=draw).to(tensor.device)
            tensor.add_((direction * (length / direction.norm())).to(tensor.dtype))
    return stepped


def shuffled_step(start: Any, tuned: Any, seed: int) -> Any:
    """A model whose every block changed from the start as another block of the tuned one did.

    Args:
        start, tuned: models of one architecture, with blocks of equal shapes; both left as they are.
        seed: of the order; no block keeps its place where there is more than one.
    """
    draw = torch.Generator().manual_seed(seed)
    stepped, theirs, ours = copy.deepcopy(start), dict(tuned.named_parameters()), dict(start.named_parameters())
    blocks = sorted({int(found[1]) for name in ours if (found := BLOCK.search(name))})
    order = [blocks[i] for i in torch.randperm(len(blocks), generator=draw).tolist()]
    other = dict(zip(order, order[1:] + order[:1], strict=True))  # one round through all blocks
    with torch.no_grad():
        for name, tensor in stepped.named_parameters():
            giver = BLOCK.sub(lambda found: f".{other[int(found[1])]}.", name, count=1)
            if giver in ours and ours[giver].shape == tensor.shape:
                tensor.add_(theirs[giver].to(tensor) - ours[giver])
    return stepped


def random_direction(start: Any, seed: int) -> Any:
    """A model that noise moved, by a hundredth of the spread of every tensor.

    Args:
        start: left as it is.
        seed: of the noise.
    """
    draw, moved = torch.Generator().manual_seed(seed), copy.deepcopy(start)
    for tensor in moved.state_dict().values():
        step = torch.randn(tensor.shape, generator=draw).to(tensor)
        tensor.add_(step * 0.01 * tensor.std(correction=0))
    return moved
