"""What a graph may be given as, and how anchor links are read. Inside the wing a graph is one sparse matrix of ones."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Adjacency = sp.csr_array[Any, Any]


def as_adjacency(graph: Any, num_nodes: int | None = None, *, directed: bool = False) -> Adjacency:
    """The adjacency of a graph without weights; undirected unless asked.

    Args:
        graph: an array or tensor of shape (2, edges) in the manner of PyTorch Geometric, a list of (node, node) pairs, a
            square scipy sparse matrix, a networkx graph, or a PyTorch Geometric `Data`. Nodes of a networkx graph keep their
            labels if these are 0 ... n-1; otherwise they are numbered in the order of `graph.nodes`.
        num_nodes: how many nodes there are, where the edges do not say; those without an edge stay, isolated.
        directed: keep the direction of a networkx DiGraph, or of a sparse matrix that is not symmetric.

    Returns:
        (n, n) float64, symmetric unless a direction was kept, every stored entry 1; [u, v] is the edge from u to v. An edge of a
        list that stands once, in one direction, counts as undirected.

    Warns of weights, and of directions unless they are kept, which are not used: `weight` of networkx edges, `edge_weight` of a `Data`, matrix entries.

    Raises:
        ValueError: nodes outside the range, a matrix that is not square, entries that are not finite, no node at all.
    """
    if isinstance(graph, sp.sparray | sp.spmatrix):
        return _from_matrix(_csr(graph), num_nodes, keep=directed)
    if hasattr(graph, "edge_index"):
        nodes = num_nodes if num_nodes is not None else graph.num_nodes
        weights = getattr(graph, "edge_weight", None)
        _warn_of_weights([] if weights is None else _array(weights))
        return _from_edges(_array(graph.edge_index), nodes)
    if hasattr(graph, "adjacency") and hasattr(graph, "nodes"):
        return _from_networkx(graph, num_nodes, keep=directed)
    if isinstance(graph, Sequence) and not isinstance(graph, str) and all(len(pair) == 2 for pair in graph):
        return _from_edges(np.asarray(graph).reshape(-1, 2).T, num_nodes)
    array = _array(graph)
    if array.ndim == 2 and array.shape[0] != 2 and array.shape[0] == array.shape[1]:
        raise ValueError(
            "a dense adjacency is not read; pass scipy.sparse.csr_array(adjacency), or edges of shape (2, m)"
        )
    return _from_edges(array, num_nodes)


def as_anchors(anchors: Any, nodes1: int, nodes2: int, *, method: str = "alignment") -> Integers:
    """Known correspondences, looked at.

    Args:
        anchors: (k, 2) integers: a node of the first graph, and its counterpart in the second.
        nodes1, nodes2: sizes of the graphs.
        method: who asks, for the message.

    Returns:
        (k, 2), int64, k at least 1.

    Raises:
        ValueError: none, not pairs of integers, out of range, or a node in two pairs.
    """
    pairs = as_pairs(anchors, nodes1, nodes2, what="anchor")
    if not len(pairs):
        raise ValueError(f"{method} needs at least one anchor link")
    for side in (0, 1):
        nodes, counts = np.unique(pairs[:, side], return_counts=True)
        if counts.max() > 1:
            raise ValueError(f"node {nodes[counts.argmax()]} of graph {side + 1} stands in {counts.max()} anchor links")
    return pairs


def as_pairs(pairs: Any, nodes1: int, nodes2: int, *, what: str = "test") -> Integers:
    """(k, 2) pairs of nodes within range; k may be 0. ValueError otherwise."""
    array = _array(pairs)
    if array.size == 0:
        return np.empty((0, 2), np.int64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{what} links must have shape (k, 2), got {array.shape}")
    links = _integers(array, f"{what} links")
    for side, nodes in enumerate((nodes1, nodes2)):
        wrong = (links[:, side] < 0) | (links[:, side] >= nodes)
        if wrong.any():
            raise ValueError(
                f"{what} link {links[wrong.argmax()].tolist()} names a node that graph {side + 1} does not have "
                f"(it has nodes 0 to {nodes - 1})"
            )
    return links


def _array(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _integers(array: npt.NDArray[Any], what: str) -> Integers:
    if array.dtype.kind not in "iuf" or (array.dtype.kind == "f" and not np.array_equal(array, np.round(array))):
        raise ValueError(f"{what} must be whole numbers, got {array.dtype}")
    return array.astype(np.int64)


def _from_edges(array: npt.NDArray[Any], num_nodes: int | None) -> Adjacency:
    if array.size == 0:
        array = np.empty((2, 0), np.int64)
    if array.ndim != 2 or array.shape[0] != 2:
        raise ValueError(f"edges must have shape (2, m), got {array.shape}")
    edges = _integers(array, "edges")
    highest = int(edges.max(initial=-1))
    nodes = highest + 1 if num_nodes is None else int(num_nodes)
    if edges.size and (edges.min() < 0 or highest >= nodes):
        wrong = highest if highest >= nodes else int(edges.min())
        raise ValueError(f"an edge names node {wrong}, but the graph has nodes 0 to {nodes - 1}")
    matrix = _csr(sp.coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(nodes, nodes)))
    matrix.data[:] = 1  # an edge listed twice is one edge
    both_ways = matrix.multiply(matrix.T).nnz
    mutual = both_ways - np.count_nonzero(matrix.diagonal())  # a loop is its own way back
    return _symmetric(matrix, directed=mutual > 0 and both_ways < matrix.nnz)


def _from_matrix(matrix: Adjacency, num_nodes: int | None, *, keep: bool) -> Adjacency:
    rows, columns = matrix.shape
    if rows != columns:
        raise ValueError(f"an adjacency must be square, got {rows} x {columns}")
    if num_nodes is not None and num_nodes != rows:
        raise ValueError(f"the adjacency has {rows} nodes, but num_nodes says {num_nodes}")
    if not np.isfinite(matrix.data).all():
        raise ValueError("the adjacency holds NaN or infinity")
    matrix = _csr(matrix)
    matrix.eliminate_zeros()
    _warn_of_weights(matrix.data)
    matrix.data[:] = 1
    one_way = bool(matrix.nnz) and abs(matrix - matrix.T).max() > 0
    return matrix if keep and one_way else _symmetric(matrix, directed=one_way)


def _from_networkx(graph: Any, num_nodes: int | None, *, keep: bool) -> Adjacency:
    nodes = list(graph.nodes)
    if sorted(n for n in nodes if isinstance(n, int)) == list(range(len(nodes))):
        nodes = list(range(len(nodes)))
    if num_nodes is not None and num_nodes != len(nodes):
        raise ValueError(f"the networkx graph has {len(nodes)} nodes, but num_nodes says {num_nodes}")
    _warn_of_weights([weight for _, _, weight in graph.edges(data="weight", default=1)])
    place = {node: i for i, node in enumerate(nodes)}
    edges = np.array([(place[u], place[v]) for u, v in graph.edges()], np.int64).reshape(-1, 2)
    if graph.is_directed():
        ones = np.ones(len(edges))
        shape = (len(nodes), len(nodes))
        return _from_matrix(_csr(sp.coo_array((ones, (edges[:, 0], edges[:, 1])), shape=shape)), None, keep=keep)
    return _from_edges(edges.T, len(nodes))


def _warn_of_weights(weights: Any) -> None:
    if any(weight != 1 for weight in np.ravel(weights)):
        warnings.warn("edge weights are not used: every edge counts 1", stacklevel=5)


def _csr(matrix: Any) -> Adjacency:
    return sp.csr_array(matrix, dtype=np.float64, copy=True)  # entries are set below, and the matrix may be the user's


def _symmetric(matrix: Adjacency, *, directed: bool) -> Adjacency:
    if matrix.shape[0] == 0:
        raise ValueError("a graph needs at least one node")
    if directed:
        warnings.warn("the graph is directed; each edge is taken in both directions", stacklevel=5)
    both = _csr(matrix + matrix.T)
    both.data[:] = 1
    both.sort_indices()
    return both
