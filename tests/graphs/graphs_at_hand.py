"""Small graphs that several tests of the wing use."""

from __future__ import annotations

import networkx as nx
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp


def barabasi(nodes: int, seed: int, attach: int = 4) -> sp.csr_array:
    graph = nx.barabasi_albert_graph(nodes, attach, seed=seed)
    return sp.csr_array(nx.to_scipy_sparse_array(graph, dtype=float))


def isomorphic_pair(
    nodes: int, seed: int, known: float = 0.2
) -> tuple[sp.csr_array, sp.csr_array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A graph, the same with its nodes relabelled, anchors, and the other pairs."""
    rng = np.random.default_rng(seed)
    first = barabasi(nodes, seed)
    names = rng.permutation(nodes)
    order = np.argsort(names)
    second = sp.csr_array(first[order][:, order])
    pairs = np.stack([np.arange(nodes), names], axis=1)[rng.permutation(nodes)]
    count = round(known * nodes)
    return first, second, pairs[:count], pairs[count:]
