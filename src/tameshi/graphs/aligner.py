"""What every aligner can do (fit, similarity, match, score), and how an alignment is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from tameshi.graphs.edges import Adjacency, Floats, Integers, as_adjacency, as_anchors, as_pairs

Direction = Literal["mean", "ltr", "rtl", "max"]
Protocol = Literal["held-out", "paper"]
OPTIMISTIC = "paper (optimistic: each metric is its maximum over epochs and directions on the test pairs)"


class NetworkAligner(ABC):
    """Finds for the nodes of one graph their counterparts in another, from a few known pairs.

    Attributes after `fit`:
        similarity_: (n1, n2); the higher, the likelier the same entity.
        anchors_: (k, 2) int64, the known pairs.
    """

    name: ClassVar[str]
    similarity_: Floats
    anchors_: Integers

    def fit(
        self,
        g1: Any,
        g2: Any,
        anchors: Any,
        x1: Any = None,
        x2: Any = None,
        *,
        num_nodes: tuple[int, int] | None = None,
        watch: Any = None,
    ) -> Self:
        """Align two graphs.

        Args:
            g1, g2: graphs as `as_adjacency` takes them: edges (2, m), a list of pairs, scipy sparse, networkx, PyG `Data`.
            anchors: (k, 2) known pairs.
            x1, x2: (n1, f) and (n2, f) attributes of the nodes, both or none. IsoRank, FINAL and RWRCosine do not use them.
            num_nodes: sizes of the two graphs, where their edges do not say.
            watch: pairs on which `JOENA` notes its metrics after every epoch. They decide nothing.

        Raises:
            ValueError: for anything that cannot be aligned, in one sentence.
        """
        nodes1, nodes2 = num_nodes or (None, None)
        adjacency1, adjacency2 = as_adjacency(g1, nodes1), as_adjacency(g2, nodes2)
        n1, n2 = adjacency1.shape[0], adjacency2.shape[0]
        self.anchors_ = as_anchors(anchors, n1, n2, method=type(self).__name__)
        attributes = _attributes(x1, x2, n1, n2)
        watched = None if watch is None else as_pairs(watch, n1, n2)
        self.similarity_ = self._align(adjacency1, adjacency2, attributes, watched)
        return self

    @abstractmethod
    def _align(
        self,
        adjacency1: Adjacency,
        adjacency2: Adjacency,
        attributes: tuple[Floats, Floats] | None,
        watch: Integers | None,
    ) -> Floats:
        """The similarity (n1, n2), from inputs that have been looked at; anchors stand in `self.anchors_`."""

    def similarity(self) -> Floats:
        """(n1, n2), as fitted."""
        if not hasattr(self, "similarity_"):
            raise ValueError(f"{type(self).__name__} is not fitted; call fit(g1, g2, anchors) first")
        return self.similarity_

    def match(self, how: Literal["argmax", "hungarian"] = "argmax") -> tuple[Integers, Floats]:
        """Pairs (node of graph 1, node of graph 2), and the similarity of each.

        "argmax" gives every node of graph 1 its most similar node, so that a node of graph 2 can stand in several pairs;
        "hungarian" gives one-to-one pairs with the largest sum, min(n1, n2) of them.
        """
        similarity = self.similarity()
        if how == "argmax":
            rows, columns = np.arange(len(similarity)), similarity.argmax(axis=1)
        elif how == "hungarian":
            rows, columns = linear_sum_assignment(similarity, maximize=True)
        else:
            raise ValueError(f'how must be "argmax" or "hungarian", got {how!r}')
        return np.stack([rows, columns], axis=1).astype(np.int64), similarity[rows, columns]

    def score(self, test_pairs: Any) -> float:
        """Mean reciprocal rank over test pairs, mean of both directions; 1 is perfect."""
        return alignment_metrics(self.similarity(), test_pairs)["mrr"]


def ranks(similarity: npt.NDArray[np.floating[Any]], pairs: Any, direction: Literal["ltr", "rtl"]) -> Floats:
    """The rank of each pair's true counterpart: 1 + how many score higher + half of how many others score the same.

    (The official code breaks ties by index, so that a constant similarity ranks some nodes first by luck.)

    Args:
        similarity: (n1, n2).
        pairs: (k, 2).
        direction: "ltr" looks for the node of graph 2 in its row, "rtl" for the node of graph 1 in its column.

    Returns:
        (k,)
    """
    links = as_pairs(pairs, *similarity.shape)
    rows = similarity[links[:, 0]] if direction == "ltr" else similarity[:, links[:, 1]].T
    true = similarity[links[:, 0], links[:, 1]][:, None]
    if np.isnan(rows).any():
        raise ValueError("the similarity holds NaN, so that nothing can be ranked")
    return np.asarray(1.0 + (rows > true).sum(axis=1) + 0.5 * ((rows == true).sum(axis=1) - 1))


def reciprocal_ranks(similarity: Floats, pairs: Any) -> Floats:
    """(k,): 1/rank of each pair, mean of both directions."""
    return np.asarray(0.5 / ranks(similarity, pairs, "ltr") + 0.5 / ranks(similarity, pairs, "rtl"))


def alignment_metrics(
    S: Floats, test_pairs: Any, ks: tuple[int, ...] = (1, 10, 30, 50), direction: Direction = "mean"
) -> dict[str, float]:
    """Mean reciprocal rank and Hits@k on test pairs.

    Args:
        S: similarity, (n1, n2).
        test_pairs: (k, 2), at least one.
        ks: for Hits@k, the share of pairs with rank at most k.
        direction: "ltr", "rtl", their "mean", or per metric their "max" (as the official script reports).

    Returns:
        {"mrr": ..., "hits@1": ..., ...}
    """
    if direction not in ("mean", "ltr", "rtl", "max"):
        raise ValueError(f'direction must be "mean", "ltr", "rtl" or "max", got {direction!r}')
    if np.size(test_pairs) == 0:
        raise ValueError("metrics need at least one test pair")

    def one_way(way: Literal["ltr", "rtl"]) -> dict[str, float]:
        found = ranks(S, test_pairs, way)
        return {"mrr": float((1 / found).mean())} | {f"hits@{k}": float((found <= k).mean()) for k in ks}

    if direction in ("ltr", "rtl"):
        return one_way(direction)
    there, back = one_way("ltr"), one_way("rtl")
    if direction == "max":
        return {name: max(there[name], back[name]) for name in there}
    return {name: (there[name] + back[name]) / 2 for name in there}


def _attributes(x1: Any, x2: Any, n1: int, n2: int) -> tuple[Floats, Floats] | None:
    if x1 is None and x2 is None:
        return None
    if x1 is None or x2 is None:
        raise ValueError("attributes are needed for both graphs or for none")
    first, second = (np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=np.float64) for x in (x1, x2))
    for side, x, n in ((1, first, n1), (2, second, n2)):
        if x.ndim != 2 or len(x) != n:
            raise ValueError(f"attributes of graph {side} must have shape ({n}, f), got {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"attributes of graph {side} hold NaN or infinity")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both graphs need the same attributes, got {first.shape[1]} and {second.shape[1]} columns")
    return first, second
