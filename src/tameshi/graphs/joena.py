"""JOENA: a coupling of two graphs and an embedding of their nodes, each trained by the other.

Yu et al. 2025, arXiv:2502.19334. An encoder of random-walk features gives the costs of an optimal transport between the graphs;
the coupling it finds, minus a constant λ, gives the signed weights by which pairs of nodes are pulled together (S > λ) or
pushed apart (S < λ) when the encoder learns:

    J = <M, S - λ> + w <L(S - λ), S - λ>,   w = α/(1 - α) √min(n1, n2),
    L(X) = (C1² X 1) 1ᵀ + 1 (1ᵀ X C2²) - 2 C1 X C2ᵀ,
    M = exp(-Z1 Z2ᵀ),  Cs = exp(-Zs Zsᵀ) on the edges of graph s and 0 elsewhere.

Symbols: S coupling, λ `shift`, α `alpha`, γ `gamma`, w `weight`, Z embeddings, M `cost`, Cs `cost1`, `cost2`. The recipe follows
the official code (yq-leo/JOENA-WWW25); what is ours is marked.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from tameshi.graphs.aligner import OPTIMISTIC, NetworkAligner, Protocol, alignment_metrics
from tameshi.graphs.edges import Adjacency, Floats, Integers
from tameshi.graphs.sparse import Pattern
from tameshi.graphs.transport import fused_gromov, gromov_cost, row_sums, squared
from tameshi.graphs.walks import rwr_features

ATTRIBUTE_SHARE = 0.05  # of a cost, where attributes are mixed into the costs (official `mode=1`)


class Epoch(TypedDict):
    """What `JOENA.history_` notes of one epoch; `loss` is J before the encoder's step, `watched` the metrics on `watch`."""

    loss: float
    lam: float
    mrr_val: float | None
    watched: dict[str, dict[str, float]]


class JOENA(NetworkAligner):
    """Aligner with `fit(g1, g2, anchors)`, `similarity_`, `match`, `score`.

    Args:
        alpha: share of structure against node cost in the transport, in [0, 1).
        gamma: entropic temperature of the transport.
        lambda_init: the shift starts at lambda_init / (n1 n2). Zero together with `lambda_momentum=0` switches it off: every
            pair attracts, and the embedding collapses.
        lambda_momentum: how far λ moves to its exact minimiser each epoch.
        hidden, out: widths of the encoder.
        lr: of Adam.
        epochs: at 0 the encoder stays as drawn, and `similarity_` is the coupling of an untrained one.
        in_iter, out_iter: Sinkhorn updates per cost, and costs per epoch.
        restart: of the random walks.
        early_stop: "anchors" holds a fifth of the anchors out of the features and keeps the epoch that ranks them best (the
            later of equals); None uses all anchors and keeps the last epoch. Test pairs are never looked at.
        attributes: "costs" mixes them into the costs, rows scaled to length 1 (our choice: it keeps their part of a cost in
            [1/e, e], as the other part is); "features" joins them to the walks as they are (PlanetAlign).
        dtype: "float64", or "float32" with gamma at least 5e-4.
        seed: of the encoder's weights and the held-out anchors.

    The defaults of alpha, gamma, lambda_init and epochs are our choice (the most reliable cell of a sweep); good values differ
    between data sets, and bad ones destroy a perfect start. `history_` shows it, and so does a warning.

    Memory: at most 7 matrices of n1 x n2 numbers at the peak (8 bytes each in float64), plus the walks (n1 + n2) x k and the edges.
    """

    name = "joena"

    def __init__(
        self,
        alpha: float = 0.7,
        gamma: float = 1e-3,
        lambda_init: float = 0.5,
        lambda_momentum: float = 0.05,
        hidden: int = 128,
        out: int = 128,
        lr: float = 1e-4,
        epochs: int = 20,
        in_iter: int = 5,
        out_iter: int = 10,
        restart: float = 0.15,
        early_stop: Literal["anchors"] | None = "anchors",
        attributes: Literal["costs", "features"] = "costs",
        dtype: Literal["float64", "float32"] = "float64",
        seed: int = 0,
    ) -> None:
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {alpha}")
        if not gamma > 0:
            raise ValueError(f"gamma must be above 0, got {gamma}")
        if not lr > 0:
            raise ValueError(f"lr must be above 0, got {lr}")
        if not 0 <= lambda_momentum <= 1:
            raise ValueError(f"lambda_momentum must be in [0, 1], got {lambda_momentum}")
        if dtype not in ("float64", "float32"):
            raise ValueError(f'dtype must be "float64" or "float32", got {dtype!r}')
        if dtype == "float32" and gamma < 5e-4:
            raise ValueError(
                f"float32 needs gamma of at least 5e-4, or exponentials underflow, got {gamma}; use float64"
            )
        if epochs < 0 or min(in_iter, out_iter, hidden, out) < 1:
            raise ValueError("epochs must be at least 0, and in_iter, out_iter, hidden and out at least 1")
        if early_stop not in ("anchors", None):
            raise ValueError(f'early_stop must be "anchors" or None, got {early_stop!r}')
        if attributes not in ("costs", "features"):
            raise ValueError(f'attributes must be "costs" or "features", got {attributes!r}')
        self.alpha, self.gamma, self.restart, self.lr = alpha, gamma, restart, lr
        self.lambda_init, self.lambda_momentum = lambda_init, lambda_momentum
        self.hidden, self.out, self.epochs, self.in_iter, self.out_iter = hidden, out, epochs, in_iter, out_iter
        self.early_stop, self.attributes, self.dtype, self.seed = early_stop, attributes, dtype, seed
        self.history_: list[Epoch] = []

    def _align(
        self,
        adjacency1: Adjacency,
        adjacency2: Adjacency,
        attributes: tuple[Floats, Floats] | None,
        watch: Integers | None,
    ) -> Floats:
        n1, n2 = adjacency1.shape[0], adjacency2.shape[0]
        if n1 * n2 > 4e8:
            size = 7 * n1 * n2 * (8 if self.dtype == "float64" else 4) / 2**30
            warnings.warn(f"{n1:,} x {n2:,} nodes need about {size:.0f} GiB of memory", stacklevel=3)
        used, held_out = self._split()
        dtype = torch.float64 if self.dtype == "float64" else torch.float32
        features1, features2 = rwr_features(adjacency1, adjacency2, used, restart=self.restart)
        if attributes is not None and self.attributes == "features":
            features1, features2 = np.hstack([attributes[0], features1]), np.hstack([attributes[1], features2])
        mixed = attributes if self.attributes == "costs" else None
        problem = Problem.of(
            adjacency1, adjacency2, features1, features2, attributes=mixed, alpha=self.alpha, dtype=dtype
        )
        encoder = Encoder.drawn(features1.shape[1], self.hidden, self.out, seed=self.seed).to(dtype)
        adam = torch.optim.Adam(encoder.parameters(), lr=self.lr)

        self.history_ = []
        shift = self.lambda_init / (n1 * n2)
        best: Tensor | None = None
        best_mrr = -1.0
        for _ in range(max(self.epochs, 1)):
            if not len(held_out):
                best = None  # the last epoch is kept; the one before need not stay in memory
            embedded1, embedded2 = encoder(problem.features1), encoder(problem.features2)
            costs = problem.costs(embedded1.detach(), embedded2.detach())
            coupling = fused_gromov(
                *costs,
                shift=shift,
                weight=problem.weight,
                temperature=self.gamma,
                inner=self.in_iter,
                outer=self.out_iter,
            )
            best_shift = optimal_shift(*costs, coupling, problem.weight)
            shift = self.lambda_momentum * best_shift + (1 - self.lambda_momentum) * shift
            loss, gradient1, gradient2 = problem.gradients(
                embedded1.detach(), embedded2.detach(), costs, coupling, shift
            )
            mrr = self._note(coupling, loss, shift, held_out, watch)
            if mrr is None or mrr >= best_mrr:
                best, best_mrr = coupling, best_mrr if mrr is None else mrr
            if self.epochs:
                adam.zero_grad()
                torch.autograd.backward([embedded1, embedded2], [gradient1, gradient2])
                adam.step()
            del costs, coupling  # before the next ones are made
        self._warn(n1 * n2)
        if best is None or not bool(torch.isfinite(best).all()):
            raise ValueError(f"the coupling is not finite; a larger gamma than {self.gamma} may help")
        return best.double().numpy()

    def _split(self) -> tuple[Integers, Integers]:
        """Anchors used as features, and those held out to choose the epoch (a fifth; our choice of how)."""
        anchors = self.anchors_
        if self.early_stop is None or self.epochs < 2:
            return anchors, anchors[:0]
        if len(anchors) < 5:
            warnings.warn(
                f"{len(anchors)} anchor links are too few to hold a fifth out, so the last epoch is kept", stacklevel=4
            )
            return anchors, anchors[:0]
        order = np.random.default_rng(self.seed).permutation(len(anchors))
        held = np.sort(order[: len(anchors) // 5])
        return np.delete(anchors, held, axis=0), anchors[held]

    def _note(
        self, coupling: Tensor, loss: float, shift: float, held_out: Integers, watch: Integers | None
    ) -> float | None:
        similarity = coupling.numpy()
        mrr = alignment_metrics(similarity, held_out)["mrr"] if len(held_out) else None
        watched = {}
        if watch is not None and len(watch):
            watched = {way: alignment_metrics(similarity, watch, direction=way) for way in ("mean", "max")}
        self.history_.append({"loss": loss, "lam": shift, "mrr_val": mrr, "watched": watched})
        return mrr

    def _warn(self, pairs: int) -> None:
        """Say so where the shift grew too large, or the held-out ranks fell; `pairs` is n1 n2."""
        largest = pairs * max(epoch["lam"] for epoch in self.history_)
        if largest > 1.5:
            warnings.warn(
                f"λ n1 n2 rose to {largest:.2f} (above 1.5 most pairs repel): training may destroy the alignment; "
                "try a smaller lambda_init, gamma or lr",
                stacklevel=4,
            )
        ranks = [epoch["mrr_val"] for epoch in self.history_ if epoch["mrr_val"] is not None]
        fell = [later < earlier for earlier, later in pairwise(ranks)]
        if any(all(fell[i : i + 5]) for i in range(len(fell) - 4)):
            warnings.warn(
                "the rank of the held-out anchors fell for 5 epochs: training destroys the alignment with these settings; "
                "the best epoch is kept",
                stacklevel=4,
            )

    def metrics(self, test_pairs: object, *, protocol: Protocol = "held-out") -> dict[str, float | str]:
        """Metrics on test pairs, with the protocol named beside them.

        "held-out" measures `similarity_`, both directions averaged. "paper" is what the official script reports: for every
        metric by itself the maximum over epochs and directions on the test pairs, which `fit(..., watch=test_pairs)` must have
        noted. It is optimistic, and says so.
        """
        if protocol == "held-out":
            return {**alignment_metrics(self.similarity(), test_pairs), "protocol": "held-out"}
        if protocol != "paper":
            raise ValueError(f'protocol must be "held-out" or "paper", got {protocol!r}')
        noted = [epoch["watched"]["max"] for epoch in self.history_ if epoch["watched"]]
        if not noted:
            raise ValueError(
                'protocol="paper" needs fit(..., watch=test_pairs), which notes the metrics of every epoch'
            )
        return {**{name: max(epoch[name] for epoch in noted) for name in noted[0]}, "protocol": OPTIMISTIC}


class Encoder(nn.Module):
    """z = W2 [x; ReLU(W1 x + b1)] + b2, rows scaled to length 1. One encoder serves both graphs."""

    def __init__(self, features: int, hidden: int, out: int) -> None:
        super().__init__()
        self.inner = nn.Linear(features, hidden)
        self.outer = nn.Linear(features + hidden, out)

    @classmethod
    def drawn(cls, features: int, hidden: int, out: int, *, seed: int) -> Encoder:
        """With PyTorch's default weights of a seed; the global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(features, hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        """(n, features) -> (n, out)"""
        z = self.outer(torch.cat([x, self.inner(x).relu()], dim=1))
        return nn.functional.normalize(z, dim=1)


Costs = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Problem:
    """Two graphs ready for training; gives the costs of an embedding, and the gradient of J with respect to it."""

    pattern1: Pattern
    pattern2: Pattern
    features1: Tensor
    features2: Tensor
    attributes: tuple[Tensor, Tensor] | None
    weight: float

    @classmethod
    def of(
        cls,
        adjacency1: Adjacency,
        adjacency2: Adjacency,
        features1: Floats,
        features2: Floats,
        *,
        attributes: tuple[Floats, Floats] | None,
        alpha: float,
        dtype: torch.dtype = torch.float64,
        dense: bool | None = None,
    ) -> Problem:
        """Args as of `JOENA`; features (n1, k) and (n2, k); `dense` overrides how cost matrices are stored."""
        scaled = None
        if attributes is not None:  # our choice, see `JOENA`
            scaled = tuple(nn.functional.normalize(torch.from_numpy(x).to(dtype), dim=1) for x in attributes)
        n1, n2 = adjacency1.shape[0], adjacency2.shape[0]
        return cls(
            Pattern.of(adjacency1, dense=dense),
            Pattern.of(adjacency2, dense=dense),
            torch.from_numpy(features1).to(dtype),
            torch.from_numpy(features2).to(dtype),
            scaled,  # type: ignore[arg-type]  # two tensors, which a generator hides
            alpha / (1 - alpha) * math.sqrt(min(n1, n2)),
        )

    def costs(self, embedded1: Tensor, embedded2: Tensor) -> Costs:
        """M (n1, n2), and C1, C2 on their edges, of embeddings (n1, out) and (n2, out)."""
        cost = (embedded1 @ embedded2.T).neg_().exp_()
        edges1 = self.pattern1.edge_costs(_exp_dot, embedded1)
        edges2 = self.pattern2.edge_costs(_exp_dot, embedded2)
        if self.attributes is not None:
            known1, known2 = self.attributes
            keep = 1 - ATTRIBUTE_SHARE
            cost.mul_(keep).add_((known1 @ known2.T).neg_().exp_(), alpha=ATTRIBUTE_SHARE)
            edges1 = keep * edges1 + ATTRIBUTE_SHARE * self.pattern1.edge_costs(_exp_dot, known1)
            edges2 = keep * edges2 + ATTRIBUTE_SHARE * self.pattern2.edge_costs(_exp_dot, known2)
        return cost, self.pattern1.matrix(edges1), self.pattern2.matrix(edges2)

    def gradients(
        self, embedded1: Tensor, embedded2: Tensor, costs: Costs, coupling: Tensor, shift: float
    ) -> tuple[float, Tensor, Tensor]:
        """J and its gradients with respect to both embeddings, coupling and shift held constant.

        By hand: dJ/dM = S - λ; dJ/dC1 = w (2 C1 p pᵀ - 2 X C2 Xᵀ) on the edges, with X = S - λ and p = X 1; C2 likewise. So
        no graph of n1 x n2 matrices is kept for the backward pass.
        """
        cost, cost1, cost2 = costs
        shifted = coupling - shift
        learnt = 1.0 if self.attributes is None else 1 - ATTRIBUTE_SHARE
        loss = float(torch.dot(cost.reshape(-1), shifted.reshape(-1)))

        structure1 = self.pattern1.between_ends(shifted, cost2)  # X C2 Xᵀ
        structure2 = self.pattern2.between_ends(shifted.T.contiguous(), cost1)  # Xᵀ C1 X
        p, q = shifted.sum(dim=1), shifted.sum(dim=0)
        values1, values2 = self._values(cost1, self.pattern1), self._values(cost2, self.pattern2)
        loss += self.weight * float(
            p @ (squared(cost1) @ p) + q @ (squared(cost2) @ q) - 2 * (values1 * structure1).sum()
        )
        edge1 = 2 * self.weight * (values1 * p[self.pattern1.rows] * p[self.pattern1.columns] - structure1)
        edge2 = 2 * self.weight * (values2 * q[self.pattern2.rows] * q[self.pattern2.columns] - structure2)

        # d exp(-z·z') = -exp(-z·z') d(z·z'); every edge stands twice, once in each direction
        pairs = shifted.mul_((embedded1 @ embedded2.T).neg_().exp_()) if self.attributes else shifted.mul_(cost)
        weight1 = self.pattern1.matrix(edge1 * self.pattern1.edge_costs(_exp_dot, embedded1))
        weight2 = self.pattern2.matrix(edge2 * self.pattern2.edge_costs(_exp_dot, embedded2))
        gradient1 = -learnt * (pairs @ embedded2 + 2 * (weight1 @ embedded1))
        gradient2 = -learnt * (pairs.T @ embedded1 + 2 * (weight2 @ embedded2))
        return loss, gradient1, gradient2

    @staticmethod
    def _values(matrix: Tensor, pattern: Pattern) -> Tensor:
        return matrix[pattern.rows, pattern.columns] if pattern.dense else matrix.values()


def optimal_shift(cost: Tensor, cost1: Tensor, cost2: Tensor, coupling: Tensor, weight: float) -> float:
    """The λ at which J is smallest: (k1 + 2 w k2) / (2 w k3), k1 = ΣM, B = L(1), k2 = <B, S>, k3 = ΣB.

    B_ij = n2 (C1² 1)_i + n1 (C2² 1)_j - 2 (C1 1)_i (C2 1)_j has rank 3, so that its sums need no n1 x n2 matrix.
    Without a structure term (w = 0, or graphs without edges) J has no minimum in λ, and 0 is returned (our choice).
    """
    n1, n2 = coupling.shape
    square1, square2 = row_sums(squared(cost1)), row_sums(squared(cost2))
    sum1, sum2 = row_sums(cost1), row_sums(cost2)
    k1 = float(cost.sum())
    k2 = float(n2 * square1 @ coupling.sum(dim=1) + n1 * square2 @ coupling.sum(dim=0) - 2 * sum1 @ (coupling @ sum2))
    k3 = float(n2**2 * square1.sum() + n1**2 * square2.sum() - 2 * sum1.sum() * sum2.sum())
    return (k1 + 2 * weight * k2) / (2 * weight * k3) if weight * k3 > 0 else 0.0


def objective(cost: Tensor, cost1: Tensor, cost2: Tensor, coupling: Tensor, *, shift: float, weight: float) -> float:
    """J at given costs, coupling and shift; written plainly, for tests and for the curious."""
    shifted = coupling - shift
    return float((cost * shifted).sum() + weight * (gromov_cost(cost1, cost2, shifted) * shifted).sum())


def _exp_dot(a: Tensor, b: Tensor) -> Tensor:
    return (-(a * b).sum(dim=1)).exp()
