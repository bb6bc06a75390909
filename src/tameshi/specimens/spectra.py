"""Random matrices whose spectrum is known, along the coordinate axes and turned away from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Generator, Tensor

from tameshi.evaluation.matrix_nuclear_norm import haar_rotation

SIDE = 256


def independent(generator: Generator, rows: int = SIDE, columns: int = SIDE) -> Tensor:
    """(rows, columns), float64: every entry standard normal."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def power_law(generator: Generator, exponent: float) -> Tensor:
    """(256, 256): column j is j to the power -exponent times as long as the first."""
    return independent(generator) * torch.arange(1, SIDE + 1, dtype=torch.float64) ** -exponent


def low_rank(generator: Generator, rank: int) -> Tensor:
    """(256, 256): all but the first `rank` columns are zero."""
    matrix = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    matrix[:, :rank] = independent(generator, columns=rank)
    return matrix


def turned(generator: Generator, made: Callable[[Generator], Tensor]) -> Tensor:
    """The same, times a random rotation of its columns: no singular value changes."""
    matrix = made(generator)
    return matrix @ haar_rotation(SIDE, seed=int(torch.randint(2**31, (), generator=generator)))


_ALONG_THE_AXES: Mapping[str, Callable[[Generator], Tensor]] = {
    **{f"power {exponent}": partial(power_law, exponent=exponent) for exponent in (0.5, 1.0, 2.0)},
    **{f"rank {rank}": partial(low_rank, rank=rank) for rank in (4, 16, 64)},
}

MATRICES: Mapping[str, Callable[[Generator], Tensor]] = {
    "iid": independent,
    "iid, 64 tokens of width 1024": partial(independent, rows=64, columns=1024),
    **_ALONG_THE_AXES,
    **{f"{name}, rotated": partial(turned, made=made) for name, made in _ALONG_THE_AXES.items()},
}
"""By name; each takes a generator and gives a float64 matrix, tokens in rows."""
