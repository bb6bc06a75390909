"""Memory that is used again: fresh pages cost more than the arithmetic that fills them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def _references(arrays: Sequence[np.ndarray], which: int) -> int:
    return sys.getrefcount(arrays[which])


_ALONE = _references([np.empty(0)], 0)  # what an array counts that only its list knows; differs between Pythons


class Room:
    """Gives out tensors; what nobody holds any more is given out again, with its old content."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def empty(self, shape: torch.Size, *, dtype: torch.dtype) -> Tensor:
        """A tensor of that shape, of any content; its memory is its own while it, or a view of it, is held."""
        needed = shape.numel() * dtype.itemsize
        if needed == 0:
            return torch.empty(shape, dtype=dtype)
        free = [i for i in range(len(self._arrays)) if _references(self._arrays, i) == _ALONE]
        large = [i for i in free if self._arrays[i].nbytes >= needed]
        if not large:
            for i in reversed(free):  # too small: let go before more is taken
                del self._arrays[i]
            self._arrays.append(np.empty(needed, dtype=np.uint8))
        array = self._arrays[large[0] if large else -1]
        return torch.from_numpy(array[:needed]).view(dtype).view(shape)
