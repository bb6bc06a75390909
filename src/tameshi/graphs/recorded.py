"""A function of tensors as the plain operations that it comes down to.

On small networks `torch.func.vmap` and autograd take longer to find out what to compute than to compute it. The operations are
the same at every step, so they are recorded once and replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., tuple[Tensor, ...]]
max_pool2d = torch.ops.aten.max_pool2d_with_indices.default


def _pooled(images: Tensor, *settings: Any) -> Any:
    """Pooling of (n, channels, height, width) with the channels last in memory, where the kernel takes many at a time: the same
    numbers, on 8 and more channels several times sooner, both copies included."""
    if images.ndim != 4 or images.is_contiguous(memory_format=torch.channels_last):
        return NotImplemented  # as it stands
    pooled, places = max_pool2d(images.contiguous(memory_format=torch.channels_last), *settings)
    return pooled.contiguous(), places.contiguous()


class Recorded:
    """`Recorded(function)(*tensors)`: what `function(*tensors)` gives, outside of autograd.

    A shape is recorded when it comes the second time: a single odd batch costs nothing extra.

    Args:
        function: of tensors alone, giving a tuple of tensors. What else it reads is taken as it was at the recording, so its
            course may not depend on values, on counters or on anything random. It may call autograd inside.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.met: set[Hashable] = set()
        self.recordings: dict[Hashable, Function] = {}

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        if shapes not in self.recordings:
            if shapes not in self.met:
                self.met.add(shapes)
                return self.function(*tensors)
            self.recordings[shapes] = make_fx(self.function, decomposition_table={max_pool2d: _pooled})(*tensors)
        with torch.no_grad():
            return self.recordings[shapes](*tensors)
