"""How much a learner takes from each of its neighbours: combination matrices of a communication graph.

A[l, k] scales what agent k receives from agent l; columns sum to 1 (Sayed 2014, chapter 4 of "Adaptation, Learning, and
Optimization over Networks"). On a connected graph with a loop A is primitive, and its Perron vector π (A π = π, Σπ = 1) says how
much each agent's data weigh in what the network learns.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.sparse.csgraph import connected_components

from tameshi.graphs.edges import Adjacency, Floats, as_adjacency

Rule = Literal["metropolis", "averaging", "relative-degree"]


def erdos_renyi(agents: int, probability: float, *, seed: int) -> Adjacency:
    """A connected random graph: every edge with the same probability, drawn again until it is connected (at most 1,000 times).

    Raises:
        ValueError: it never was; a larger probability is needed.
    """
    if agents < 1 or not 0 < probability <= 1:
        raise ValueError(f"a random graph needs agents and a probability in (0, 1], got {agents} and {probability}")
    rng = np.random.default_rng(seed)
    above = np.triu_indices(agents, 1)
    for _ in range(1000):
        drawn = rng.random(len(above[0])) < probability
        graph = as_adjacency(np.stack([above[0][drawn], above[1][drawn]]), agents)
        if connected_components(graph)[0] == 1:
            return graph
    raise ValueError(f"no connected graph of {agents} agents came up at p = {probability}; use a larger probability")


def combination_matrix(graph: Any, rule: Rule | Any = "metropolis", *, allow_disconnected: bool = False) -> Floats:
    """The weights A (agents, agents) of a graph, by a rule or the user's own.

    With n_k the number of agents that agent k hears, itself included:

    - "metropolis": 1 / max(n_l, n_k) between neighbours, the rest on the diagonal; symmetric where the graph is, so that π = 1/K;
    - "averaging": 1 / n_k; π is proportional to n_k where everybody who is heard hears;
    - "relative-degree": n_l / Σ n over the neighbours of k: more from those who hear more;
    - an array: taken as it is, if its columns sum to 1 and it lives on the graph.

    Args:
        graph: as `as_adjacency` takes it. In a directed one (a networkx DiGraph, a sparse matrix that is not symmetric) an edge
            from l to k lets k hear l.
        rule: how.
        allow_disconnected: parts that never hear of each other are let through.

    Raises:
        ValueError: not strongly connected (naming the parts), or a matrix that is none.
    """
    adjacency = as_adjacency(graph, directed=True)
    if not allow_disconnected:
        _connected(adjacency)
    near = (adjacency.toarray() > 0) | np.eye(adjacency.shape[0], dtype=bool)
    heard = near.sum(axis=0)
    if not isinstance(rule, str):
        own = _own(np.asarray(rule, dtype=np.float64), near)
        parts = connected_components(own > 0, directed=True, connection="strong")[0]
        if parts > 1 and not allow_disconnected:
            raise ValueError(
                f"by the combination matrix the agents fall into {parts} groups that do not hear each other both ways; "
                "it must be strongly connected, or pass allow_disconnected=True"
            )
        return own
    if rule == "averaging":
        return np.asarray(near / heard)
    if rule == "relative-degree":
        weights = near * heard[:, None]
        return np.asarray(weights / weights.sum(axis=0))
    if rule == "metropolis":
        weights = np.where(near, 1 / np.maximum(heard[:, None], heard), 0.0)
        np.fill_diagonal(weights, 0)
        np.fill_diagonal(weights, 1 - weights.sum(axis=0))
        return weights
    raise ValueError(f'combine must be "metropolis", "averaging", "relative-degree" or a matrix, got {rule!r}')


def perron(combination: Floats) -> Floats:
    """π with A π = π and Σπ = 1, by the power iteration; (agents,).

    Raises:
        ValueError: it does not settle (the matrix is not primitive).
    """
    weights = np.full(len(combination), 1 / len(combination))
    for _ in range(100_000):
        after = combination @ weights
        moved = np.abs(after - weights).max()
        weights = after
        if moved < 1e-15:
            return np.asarray(weights / weights.sum())
    raise ValueError(
        "the combination matrix has no single Perron vector: it needs a connected graph and a positive a_kk"
    )


def _own(matrix: Floats, near: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
    if matrix.shape != near.shape:
        raise ValueError(f"the combination matrix must be {near.shape[0]} x {near.shape[0]}, got {matrix.shape}")
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise ValueError("combination weights must be finite and at least 0")
    error = np.abs(matrix.sum(axis=0) - 1)
    if error.max() > 1e-8:
        hint = "; its rows do, so pass its transpose" if np.abs(matrix.sum(axis=1) - 1).max() < 1e-8 else ""
        raise ValueError(
            f"columns of the combination matrix must sum to 1: column {error.argmax()} is off by {error.max():.3g}{hint}"
        )
    stray = (matrix > 0) & ~near
    if stray.any():
        l, k = np.argwhere(stray)[0].tolist()
        raise ValueError(f"the combination matrix has agent {k} listen to agent {l}, but the graph has no such edge")
    if not (np.diagonal(matrix) > 0).any():
        raise ValueError("at least one agent must keep a part of its own model (a positive a_kk)")
    return matrix


def _connected(adjacency: Adjacency) -> None:
    count, labels = connected_components(adjacency, directed=True, connection="strong")
    if count > 1:
        shown = [np.flatnonzero(labels == part)[:5].tolist() for part in range(min(count, 3))]
        one_way = " both ways" if connected_components(adjacency)[0] < count else ""
        raise ValueError(
            f"the graph falls into {count} parts ({', '.join(map(str, shown))} ...), which cannot learn from each other{one_way}; "
            "connect it, or pass allow_disconnected=True"
        )
