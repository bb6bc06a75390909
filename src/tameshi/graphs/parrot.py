"""PARROT: position-aware regularised optimal transport, the strongest baseline that trains nothing.

Zeng et al., WWW 2023; as in PlanetAlign's `parrot.py`. E(U, V) = exp(-cos(U, V)) of random-walk features gives a node cost,
which a walk on the product of the graphs smooths; ten proximal steps of a fused Gromov-Wasserstein problem follow, in which
neighbours should be matched to neighbours, and anchors to anchors.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from tameshi.graphs.aligner import NetworkAligner
from tameshi.graphs.edges import Adjacency, Floats, Integers
from tameshi.graphs.propagation import cosine
from tameshi.graphs.sparse import Pattern
from tameshi.graphs.transport import gromov_cost, sinkhorn
from tameshi.graphs.walks import rwr_features


class PARROT(NetworkAligner):
    """Aligner; no training, so that all its work is one transport.

    Args:
        alpha: weight of the walk features beside the attributes in the node cost.
        beta, gamma: of the walk on the product graph.
        proximal: λ_p, of the step's distance from the coupling before.
        edges: λ_e, of the Gromov-Wasserstein term; multiplied by n1 n2.
        neighbours: λ_n, of the consistency of neighbourhoods.
        prior: λ_a, of the anchors.
        restart: of the walks from the anchors.
        in_iter, out_iter: Sinkhorn updates per step, and steps.
    """

    name = "parrot"

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.15,
        gamma: float = 0.75,
        proximal: float = 5e-4,
        edges: float = 1e-5,
        neighbours: float = 5e-3,
        prior: float = 5e-4,
        restart: float = 0.15,
        in_iter: int = 5,
        out_iter: int = 10,
    ) -> None:
        if not proximal > 0:
            raise ValueError(f"proximal must be above 0, got {proximal}")
        self.alpha, self.beta, self.gamma, self.restart = alpha, beta, gamma, restart
        self.proximal, self.edges, self.neighbours, self.prior = proximal, edges, neighbours, prior
        self.in_iter, self.out_iter = in_iter, out_iter

    def _align(
        self,
        adjacency1: Adjacency,
        adjacency2: Adjacency,
        attributes: tuple[Floats, Floats] | None,
        watch: Integers | None,
    ) -> Floats:
        adjacency1, adjacency2 = _without_isolated(adjacency1), _without_isolated(adjacency2)
        features1, features2 = rwr_features(adjacency1, adjacency2, self.anchors_, restart=self.restart)
        known1, known2 = attributes if attributes is not None else (features1, features2)
        cost = self.alpha * _distance(features1, features2) + _distance(known1, known2)
        cost[self.anchors_[:, 0], self.anchors_[:, 1]] = 0
        cost = self._walked(cost, adjacency1, adjacency2)
        pattern1, pattern2 = Pattern.of(adjacency1), Pattern.of(adjacency2)
        intra1 = pattern1.matrix(torch.from_numpy(_edge_distances(known1, pattern1)))
        intra2 = pattern2.matrix(torch.from_numpy(_edge_distances(known2, pattern2)))
        return self._transport(cost, intra1, intra2, adjacency1, adjacency2).numpy()

    def _walked(self, cost: Floats, adjacency1: Adjacency, adjacency2: Adjacency) -> Floats:
        """The node cost after a walk with restart on the product graph, at most 50 steps or until nothing moves by 1e-2."""
        step1, step2 = _row_normalised(adjacency1), _row_normalised(adjacency2)
        walked = np.zeros_like(cost)
        for _ in range(50):
            spread = (step2 @ (step1 @ walked).T).T
            after = (1 + self.beta) * cost + (1 - self.beta) * self.gamma * spread
            moved = np.abs(after - walked).max()
            walked = after
            if moved < 1e-2:
                break
        return np.ascontiguousarray((1 - self.gamma) * walked)

    def _transport(
        self,
        node_cost: Floats,
        intra1: torch.Tensor,
        intra2: torch.Tensor,
        adjacency1: Adjacency,
        adjacency2: Adjacency,
    ) -> torch.Tensor:
        n1, n2 = node_cost.shape
        back1, back2 = sp.csr_array(_row_normalised(adjacency1).T), sp.csr_array(_row_normalised(adjacency2).T)
        fixed = torch.from_numpy(node_cost)
        if self.prior:
            known = np.full((n1, n2), np.log(1e-6))
            known[self.anchors_[:, 0], self.anchors_[:, 1]] = 0
            fixed = fixed - self.prior * torch.from_numpy(known)
        temperature = self.neighbours + self.prior + self.proximal
        coupling = torch.full((n1, n2), 1 / (n1 * n2), dtype=torch.float64)
        potential = torch.full((n2,), 1 / n2, dtype=torch.float64)
        cost = fixed
        for step in range(self.out_iter):
            fresh = fixed
            if self.edges:
                fresh = gromov_cost(intra1, intra2, coupling).mul_(self.edges * n1 * n2).add_(fixed)
            if self.neighbours:  # P1ᵀ S P2
                agreed = (back2 @ (back1 @ coupling.numpy()).T).T
                fresh = fresh - self.neighbours * torch.from_numpy(np.log(agreed))
            if step == 0 or float((coupling * fresh).sum()) <= float((coupling * cost).sum()):
                cost = fresh
            plan, potential = sinkhorn(
                cost - self.proximal * coupling.log(), potential, temperature=temperature, iterations=self.in_iter
            )
            coupling = 0.05 * coupling + 0.95 * plan
        return coupling


def _distance(rows1: Floats, rows2: Floats) -> Floats:
    return np.exp(-cosine(rows1, rows2))


def _edge_distances(rows: Floats, pattern: Pattern) -> Floats:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norm > 0, norm, 1)
    return np.asarray(np.exp(-np.einsum("ij,ij->i", unit[pattern.rows.numpy()], unit[pattern.columns.numpy()])))


def _row_normalised(adjacency: Adjacency) -> Adjacency:
    degrees = np.asarray(adjacency.sum(axis=1)).ravel()
    return sp.csr_array(sp.diags_array(1 / degrees) @ adjacency)


def _without_isolated(adjacency: Adjacency) -> Adjacency:
    """Isolated nodes get an edge to every node (their row is set to ones); the matrix stays symmetric (our choice)."""
    isolated = np.flatnonzero(np.diff(adjacency.indptr) == 0)
    if not len(isolated):
        return adjacency
    n = adjacency.shape[0]
    rows = np.repeat(isolated, n)
    extra = sp.csr_array((np.ones(len(rows)), (rows, np.tile(np.arange(n), len(isolated)))), shape=(n, n))
    joined = sp.csr_array(adjacency + extra + extra.T)
    joined.data[:] = 1
    joined.sort_indices()
    return joined
