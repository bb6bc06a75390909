"""Arithmetic on large tensors, piece by piece.

Whatever the storage, the arithmetic is float32 (float64 for float64 storage) and there is one rounding, at the end. A
tensor is walked in pieces that stay in the processor's cache, so nothing is ever held twice: a mapped bfloat16 file
of any size costs the result and a few pieces. Norms, products and thresholds are taken the same way, sums in float64.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

from tameshi.merging.compiled import largest, products
from tameshi.merging.room import Room

AT_ONCE = 2  # tensors made side by side; a third would be a third result in memory, for a bus that two nearly fill
PIECE = 1 << 17  # elements: half a megabyte of float32, so that a handful of them fits a core's cache
LARGE = 1 << 20  # entries from which compiling pays; a model that has one such tensor has many
ROW = 1 << 10  # entries multiplied in float32 before float64 takes over: an error of 1e-8, at a tenth of the time
SAMPLED = 1 << 16  # elements looked at to guess where a threshold lies
_BITS = {  # storage -> (integer view, everything but the sign, smallest pattern that is not a finite number)
    torch.bfloat16: (torch.int16, 0x7FFF, 0x7F80),
    torch.float16: (torch.int16, 0x7FFF, 0x7C00),
    torch.float32: (torch.int32, 0x7FFFFFFF, 0x7F800000),
    torch.float64: (torch.int64, 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000),
}

_ROOM: ContextVar[Room | None] = ContextVar("room", default=None)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch computes in one thread: pieces are too short to be shared, and waiting costs more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def side_by_side() -> Iterator[Executor]:
    """Threads for whole tensors, `AT_ONCE` of them: what they compute is the same in any number and order.

    In each, torch uses one thread, and `empty` gives the memory of results that nobody holds any more.
    """

    def begin() -> None:
        _ROOM.set(Room())
        torch.set_num_threads(1)  # a thread that has not asked torch yet would give products of its own two

    with one_thread(), ThreadPoolExecutor(AT_ONCE, initializer=begin) as threads:
        yield threads


def empty(shape: torch.Size, *, dtype: torch.dtype) -> Tensor:
    """A new tensor of any content, in a thread of `side_by_side` where an earlier one lay that nobody holds any more."""
    room = _ROOM.get()
    return torch.empty(shape, dtype=dtype) if room is None else room.empty(shape, dtype=dtype)


def elementwise(function: Callable[..., Tensor], *tensors: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Apply a function of aligned entries.

    Args:
        function: gets one flat piece of every tensor, in working precision, its own to overwrite; returns one of that
            length.
        tensors: all of one shape; at least one.
        dtype: of the result; None for that of the first tensor.

    Returns:
        A new tensor of the common shape, rounded once.
    """
    result = empty(tensors[0].shape, dtype=dtype or tensors[0].dtype)
    flat, start = result.view(-1), 0
    for parts in pieces(*tensors):
        stop = start + parts[0].numel()
        flat[start:stop] = function(*parts)
        start = stop
    return result


def pieces(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Walk tensors of one shape together: flat pieces in working precision, yours until the next are asked for."""
    work = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    flats = [t.reshape(-1) for t in tensors]
    length = flats[0].numel()
    # one set of buffers for the whole walk: fresh ones would leave holes in the heap as large as the tensors
    buffers = [torch.empty(min(PIECE, length), dtype=work) for _ in flats]
    for start in range(0, length, PIECE):
        size = min(PIECE, length - start)
        yield [buffer[:size].copy_(flat[start : start + size]) for buffer, flat in zip(buffers, flats, strict=True)]


def gram(vectors: Callable[..., Sequence[Tensor]], *tensors: Tensor) -> Tensor:
    """All products between vectors that are computed from aligned pieces.

    Args:
        vectors: pieces -> the pieces of n vectors (their differences, say).
        tensors: all of one shape.

    Returns:
        (n, n), float64: entry i, j is the inner product of vectors i and j; 0 for tensors without entries.
    """
    total: Tensor | None = None
    for parts in pieces(*tensors):
        here = _products(torch.stack(list(vectors(*parts))))
        total = here if total is None else total + here
    if total is None:
        count = len(vectors(*(torch.zeros(1) for _ in tensors)))
        return torch.zeros(count, count, dtype=torch.float64)
    return total


def gram_of_changes(origin: Tensor, *models: Tensor) -> Tensor:
    """All products between the differences of models from one origin.

    Args:
        origin, models: all of one shape.

    Returns:
        (n, n) for n models, float64.
    """
    if compilable(origin, *models):
        return torch.from_numpy(products(bits(origin), [bits(model) for model in models]))
    return gram(lambda centre, *parts: [part.sub_(centre) for part in parts], origin, *models)


def _products(vectors: Tensor) -> Tensor:
    """(n, length) -> (n, n): rows of a thousand entries are multiplied as they are, and summed in float64."""
    count, length = vectors.shape
    whole = length - length % ROW
    rows = vectors[:, :whole].reshape(count, -1, ROW).transpose(0, 1)
    rest = vectors[:, whole:].double()
    return torch.bmm(rows, rows.transpose(1, 2)).double().sum(dim=0) + rest @ rest.T


def cosine(products: Tensor, i: int, j: int) -> float:
    """Cosine of the angle between two vectors, from their products; 0 if either has no length."""
    lengths = math.sqrt(float(products[i, i])) * math.sqrt(float(products[j, j]))
    return max(-1.0, min(1.0, float(products[i, j]) / lengths)) if lengths else 0.0


def compilable(*tensors: Tensor) -> bool:
    """Whether a compiled loop takes them: bfloat16, and so large that compiling pays."""
    return tensors[0].numel() >= LARGE and all(t.dtype == torch.bfloat16 and t.device.type == "cpu" for t in tensors)


def bits(tensor: Tensor) -> np.ndarray:
    """A bfloat16 tensor's bits, flat, in its own memory where it is contiguous."""
    return tensor.detach().reshape(-1).view(torch.uint16).numpy()


def is_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite; fifteen times as fast as asking for every entry."""
    if tensor.dtype not in _BITS:
        return not tensor.is_floating_point() or bool(torch.isfinite(tensor.float()).all())
    flat = tensor.reshape(-1)
    if compilable(flat):
        return largest(bits(flat)) < _BITS[torch.bfloat16][2]
    if bool(torch.isfinite(flat.sum())):
        return True  # NaN and infinity survive a sum; where it overflows by itself, the bits are looked at
    integers, magnitude, limit = _BITS[tensor.dtype]
    flat = flat.view(integers)
    starts = range(0, flat.numel(), PIECE)
    return all(int((flat[start : start + PIECE] & magnitude).max()) < limit for start in starts)


def smallest_kept(tensor: Tensor, base: Tensor, density: float) -> float:
    """The magnitude that an entry of `tensor - base` needs to be among the largest `density` of them.

    A sample brackets the threshold; one walk counts what lies above the bracket and collects what lies in it. If the
    sample
    misled, the bracket is opened and the walk repeated: the result is exact in every case.

    Args:
        tensor, base: of one shape, at least one entry.
        density: share kept, in (0, 1].

    Returns:
        The k-th largest magnitude, k = max(1, floor(density x entries)).
    """
    count = tensor.numel()
    wanted = max(1, int(density * count))
    low, high = 0.0, math.inf
    if count > 4 * SAMPLED:
        stride = count // SAMPLED | 1  # odd, so that it does not walk down one column of a matrix
        sample = (
            (tensor.reshape(-1)[::stride].float() - base.reshape(-1)[::stride].float())
            .abs()
            .sort(descending=True)
            .values
        )
        at = wanted / count * len(sample)
        slack = 4 * math.sqrt(at * (1 - wanted / count)) + 2
        high = float(sample[int(at - slack)]) if at - slack >= 0 else math.inf
        low = float(sample[int(at + slack)]) if at + slack < len(sample) else 0.0
    masks = torch.empty(min(PIECE, count), dtype=torch.bool)
    while True:
        above = at_high = at_low = 0  # entries larger than the bracket, at least its upper end, at least its lower end
        inside: list[Tensor] = []  # strictly between the ends: often most entries are exactly 0
        for part, origin in pieces(tensor, base):
            size, mask = part.sub_(origin).abs_(), masks[: part.numel()]
            above += int(torch.gt(size, high, out=mask).count_nonzero())
            at_high += int(torch.ge(size, high, out=mask).count_nonzero())
            at_low += int(torch.ge(size, low, out=mask).count_nonzero())
            if at_low > at_high + sum(len(p) for p in inside):
                between = torch.logical_and(size > low, size < high, out=mask)
                if bool(between.any()):
                    inside.append(size[between])
        if above >= wanted:
            low, high = high, math.inf
        elif at_high >= wanted:
            return high
        elif at_high + sum(len(p) for p in inside) >= wanted:
            middle = torch.cat(inside)
            return float(middle.kthvalue(len(middle) - (wanted - at_high) + 1).values)
        elif at_low >= wanted:
            return low
        else:
            low, high = 0.0, low
