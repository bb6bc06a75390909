"""Memory that is used again: fresh pages cost more than the arithmetic that fills them."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

_UNUSED = 3  # references to an array that only the room knows: its list, the loop's name, the question itself


class Room:
    """Gives out tensors; what nobody holds any more is given out again, with its old content."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def empty(self, shape: torch.Size, *, dtype: torch.dtype) -> Tensor:
        """A tensor of that shape, of any content; its memory is its own while it, or a view of it, is held."""
        needed = shape.numel() * dtype.itemsize
        if needed == 0:
            return torch.empty(shape, dtype=dtype)
        for array in self._arrays:
            if array.nbytes >= needed and sys.getrefcount(array) == _UNUSED:
                return self._part(array, needed, shape, dtype)
        for i in reversed(range(len(self._arrays))):  # too small: let go before more is taken
            if sys.getrefcount(self._arrays[i]) < _UNUSED:  # no loop's name here
                del self._arrays[i]
        fresh = np.empty(needed, dtype=np.uint8)
        self._arrays.append(fresh)
        return self._part(fresh, needed, shape, dtype)

    @staticmethod
    def _part(array: np.ndarray, size: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(array[:size]).view(dtype).view(shape)
