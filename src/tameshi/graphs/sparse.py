"""A symmetric matrix with entries only where a graph has edges, and its products with dense matrices."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tameshi.graphs.edges import Adjacency, Floats

BLOCK = 1024  # rows or columns of a product taken at once, so that what it needs beside stays small
DENSE_FROM = 0.15  # share of entries from which one dense product is faster than a sparse one (measured at n = 1,000)


def csr(pattern: Adjacency, values: Floats | Tensor) -> Tensor:
    """A torch CSR matrix with the pattern of a scipy one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(pattern.indptr.astype(np.int64)),
            torch.from_numpy(pattern.indices.astype(np.int64)),
            torch.as_tensor(values),
            pattern.shape,
            check_invariants=False,  # the pattern comes from scipy, which keeps them
        )


def blocks(count: int) -> Iterator[slice]:
    """0 ... count in pieces of at most BLOCK."""
    for first in range(0, count, BLOCK):
        yield slice(first, min(first + BLOCK, count))


def some_rows(matrix: Tensor, rows: slice) -> Tensor:
    """Rows of a CSR or strided matrix, sharing its numbers."""
    if matrix.layout != torch.sparse_csr:
        return matrix[rows]
    pointers = matrix.crow_indices()[rows.start : rows.stop + 1]
    entries = slice(int(pointers[0]), int(pointers[-1]))
    return torch.sparse_csr_tensor(
        pointers - pointers[0],
        matrix.col_indices()[entries],
        matrix.values()[entries],
        (rows.stop - rows.start, matrix.shape[1]),
        check_invariants=False,
    )


@dataclass(frozen=True, eq=False)
class Pattern:
    """The places of a graph's edges.

    Args:
        rows, columns: (m,) int64, in CSR order; both directions of every edge.
        adjacency: the same as a matrix.
        dense: whether matrices on this pattern are stored dense.
    """

    rows: Tensor
    columns: Tensor
    adjacency: Adjacency
    dense: bool

    @classmethod
    def of(cls, adjacency: Adjacency, *, dense: bool | None = None) -> Pattern:
        n = adjacency.shape[0]
        rows = np.repeat(np.arange(n), np.diff(adjacency.indptr))
        return cls(
            torch.from_numpy(rows),
            torch.from_numpy(adjacency.indices.astype(np.int64)),
            adjacency,
            adjacency.nnz > DENSE_FROM * n * n if dense is None else dense,
        )

    def matrix(self, values: Tensor) -> Tensor:
        """(n, n) with `values` (m,) on the edges: CSR, or strided where the graph is dense."""
        if not self.dense:
            return csr(self.adjacency, values)
        full = values.new_zeros(self.adjacency.shape)
        full[self.rows, self.columns] = values
        return full

    def between_ends(self, points: Tensor, cost: Tensor) -> Tensor:
        """(m,): the entries of X C Xᵀ on the edges, for X = `points` (n, k), contiguous, and symmetric C = `cost` (k, k)."""
        if self.dense:
            return ((points @ cost) @ points.T)[self.rows, self.columns]
        found = []
        for rows in blocks(len(points)):
            mixed = (cost @ points[rows].T).T.contiguous()  # (block, k) of X C
            ones = csr(self.adjacency[rows.start : rows.stop], points.new_ones(self._count(rows)))
            sampled: Tensor = torch.sparse.sampled_addmm(ones, mixed, points.T, beta=0.0)
            found.append(sampled.values())
        return torch.cat(found)

    def _count(self, rows: slice) -> int:
        return int(self.adjacency.indptr[rows.stop] - self.adjacency.indptr[rows.start])

    def edge_costs(self, cost: Callable[[Tensor, Tensor], Tensor], points: Tensor) -> Tensor:
        """(m,): `cost` between the two ends of every edge; points are (n, k)."""
        return cost(points[self.rows], points[self.columns])
