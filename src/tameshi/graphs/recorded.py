"""A function of tensors as the plain operations that it comes down to.

On small networks `torch.func.vmap` and autograd take longer to find out what to compute than to compute it. The operations are
the same at every step, so they are recorded once and replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., tuple[Tensor, ...]]


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
            self.recordings[shapes] = make_fx(self.function)(*tensors)
        with torch.no_grad():
            return self.recordings[shapes](*tensors)
