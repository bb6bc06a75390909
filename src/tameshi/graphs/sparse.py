"""A symmetric matrix with entries only where a graph has edges, and its products with dense matrices."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tameshi.graphs.edges import Adjacency, Floats

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

    def on_edges(self, left: Tensor, right: Tensor) -> Tensor:
        """(m,): the entries of left @ rightᵀ on the edges; left and right are (n, k)."""
        if self.dense:
            return (left @ right.T)[self.rows, self.columns]
        ones = csr(self.adjacency, left.new_ones(len(self.rows)))
        found: Tensor = torch.sparse.sampled_addmm(ones, left, right.T.contiguous(), beta=0.0)
        return found.values()

    def edge_costs(self, cost: Callable[[Tensor, Tensor], Tensor], points: Tensor) -> Tensor:
        """(m,): `cost` between the two ends of every edge; points are (n, k)."""
        return cost(points[self.rows], points[self.columns])
