"""Aligners that propagate similarity along edges: IsoRank, FINAL, and the cosine of random walks."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from tameshi.graphs.aligner import NetworkAligner
from tameshi.graphs.edges import Adjacency, Floats, Integers
from tameshi.graphs.walks import rwr_features


def _indicator(anchors: Integers, shape: tuple[int, int]) -> Floats:
    known = np.zeros(shape)
    known[anchors[:, 0], anchors[:, 1]] = 1
    return known


def _inverse(degrees: Floats, power: float) -> Floats:
    """degrees^-power, 0 where a node is isolated."""
    found: Floats = np.zeros(len(degrees))
    found[degrees > 0] = degrees[degrees > 0] ** -power
    return found


def _degrees(adjacency: Adjacency) -> Floats:
    return np.asarray(adjacency @ np.ones(adjacency.shape[0]))


class IsoRank(NetworkAligner):
    """Two nodes are alike as far as their neighbours are: S <- a Ã1 S Ã2ᵀ + (1 - a) H.

    Singh, Xu and Berger 2008, with anchors, as in PlanetAlign's `isorank.py`. Ã is the adjacency with columns divided by the
    degrees, H holds 1 on anchors.

    Args:
        alpha: a, the share of the neighbours, in [0, 1).
        iterations: at most; it stops when no entry moves by more than 1e-9 (our choice).
    """

    name = "isorank"

    def __init__(self, alpha: float = 0.4, iterations: int = 100) -> None:
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {alpha}")
        self.alpha, self.iterations = alpha, iterations

    def _align(
        self,
        adjacency1: Adjacency,
        adjacency2: Adjacency,
        attributes: tuple[Floats, Floats] | None,
        watch: Integers | None,
    ) -> Floats:
        walk1 = sp.csr_array(adjacency1 @ sp.diags_array(_inverse(_degrees(adjacency1), 1)))
        walk2 = sp.csr_array(adjacency2 @ sp.diags_array(_inverse(_degrees(adjacency2), 1)))
        known = (1 - self.alpha) * _indicator(self.anchors_, (adjacency1.shape[0], adjacency2.shape[0]))
        similarity = known
        for _ in range(self.iterations):
            spread = self.alpha * (walk2 @ (walk1 @ similarity).T).T + known
            moved = np.abs(spread - similarity).max()
            similarity = spread
            if moved < 1e-9:
                break
        return np.ascontiguousarray(similarity)


class FINAL(NetworkAligner):
    """Similarity smoothed over pairs of edges: S <- a N ∘ (A1 (N ∘ S) A2) + (1 - a) H.

    Zhang and Tong 2016, the case without attributes, as in PlanetAlign's `final.py`: N_ij = (d_i d'_j)^-1/2.

    Args:
        alpha: a, in [0, 1).
        iterations: how many.
    """

    name = "final"

    def __init__(self, alpha: float = 0.5, iterations: int = 50) -> None:
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {alpha}")
        self.alpha, self.iterations = alpha, iterations

    def _align(
        self,
        adjacency1: Adjacency,
        adjacency2: Adjacency,
        attributes: tuple[Floats, Floats] | None,
        watch: Integers | None,
    ) -> Floats:
        # N = n1 n2ᵀ has rank one, so that it scales the adjacencies once: N∘(A1 (N∘S) A2) = (n1 A1 n1) S (n2 A2 n2)
        root1, root2 = (sp.diags_array(_inverse(_degrees(a), 0.5)) for a in (adjacency1, adjacency2))
        smooth1, smooth2 = sp.csr_array(root1 @ adjacency1 @ root1), sp.csr_array(root2 @ adjacency2 @ root2)
        known = (1 - self.alpha) * _indicator(self.anchors_, (adjacency1.shape[0], adjacency2.shape[0]))
        similarity = known
        for _ in range(self.iterations):
            similarity = self.alpha * (smooth2 @ (smooth1 @ similarity).T).T + known
        return np.ascontiguousarray(similarity)


class RWRCosine(NetworkAligner):
    """Cosine of the rows of the random-walk features, and nothing learnt: what JOENA starts from.

    Args:
        restart: of the walks.
    """

    name = "rwr-cosine"

    def __init__(self, restart: float = 0.15) -> None:
        self.restart = restart

    def _align(
        self,
        adjacency1: Adjacency,
        adjacency2: Adjacency,
        attributes: tuple[Floats, Floats] | None,
        watch: Integers | None,
    ) -> Floats:
        features1, features2 = rwr_features(adjacency1, adjacency2, self.anchors_, restart=self.restart)
        return cosine(features1, features2)


def cosine(rows1: Floats, rows2: Floats) -> Floats:
    """(n1, n2) cosines of the rows of (n1, k) and (n2, k); 0 where a row is zero."""
    norm1, norm2 = (np.linalg.norm(rows, axis=1, keepdims=True) for rows in (rows1, rows2))
    unit1, unit2 = rows1 / np.where(norm1 > 0, norm1, 1), rows2 / np.where(norm2 > 0, norm2, 1)
    return np.asarray(unit1 @ unit2.T)
