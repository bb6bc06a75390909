import inspect
import warnings

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from tests.graphs.graphs_at_hand import barabasi, isomorphic_pair

import tameshi.graphs as wing
from tameshi.graphs import (
    FINAL,
    JOENA,
    PARROT,
    IsoRank,
    NetworkAligner,
    RWRCosine,
    alignment_metrics,
    ranks,
    reciprocal_ranks,
)
from tameshi.graphs.transport import log_sinkhorn
from tameshi.graphs.walks import rwr_features

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch Geometric calls the deprecated torch.jit.script when it is imported
    from torch_geometric.data import Data

torch.set_num_threads(1)

ALIGNERS = [
    found
    for name in wing.__all__
    if inspect.isclass(found := getattr(wing, name))
    and issubclass(found, NetworkAligner)
    and found is not NetworkAligner
]
QUICK = {JOENA: {"epochs": 2, "early_stop": None, "gamma": 1e-2}}


@pytest.fixture(params=ALIGNERS, ids=lambda kind: kind.__name__)
def aligner(request):
    return request.param(**QUICK.get(request.param, {}))


def test_five_aligners_are_found():
    assert {kind.name for kind in ALIGNERS} == {"joena", "parrot", "isorank", "final", "rwr-cosine"}


def test_every_aligner_ranks_counterparts_far_better_than_chance(aligner):
    first, second, anchors, rest = isomorphic_pair(50, seed=0)
    assert aligner.fit(first, second, anchors).score(rest) > 0.3  # chance: 0.1


def test_every_aligner_gives_the_same_whatever_the_graph_is_written_as(aligner):
    first, second, anchors, _ = isomorphic_pair(30, seed=0)
    sparse = aligner.fit(first, second, anchors).similarity_.copy()
    edges = [np.stack(matrix.nonzero()) for matrix in (first, second)]
    networks = [nx.from_scipy_sparse_array(matrix) for matrix in (first, second)]
    assert (aligner.fit(*edges, anchors, num_nodes=(30, 30)).similarity_ == sparse).all()
    assert (aligner.fit(*networks, anchors.tolist()).similarity_ == sparse).all()
    geometric = [Data(edge_index=torch.from_numpy(e.astype(np.int64)), num_nodes=30) for e in edges]
    assert (aligner.fit(*geometric, torch.from_numpy(anchors)).similarity_ == sparse).all()


def test_relabelling_the_second_graph_permutes_every_answer(aligner):
    first, second, anchors, _ = isomorphic_pair(30, seed=1)
    names = np.random.default_rng(0).permutation(30)
    order = np.argsort(names)
    moved = np.stack([anchors[:, 0], names[anchors[:, 1]]], axis=1)
    plain = aligner.fit(first, second, anchors).similarity_.copy()
    other = aligner.fit(first, second[order][:, order], moved).similarity_
    assert other[:, names] == pytest.approx(plain, abs=1e-9)


def test_graphs_of_different_sizes_with_isolated_nodes_give_finite_numbers(aligner):
    found = aligner.fit([(0, 1), (1, 2)], [(0, 1), (1, 2), (2, 3)], [(0, 0)], num_nodes=(4, 6)).similarity_
    assert found.shape == (4, 6)
    assert np.isfinite(found).all()


def test_every_aligner_wants_an_anchor(aligner):
    with pytest.raises(ValueError, match=f"{type(aligner).__name__} needs at least one anchor link"):
        aligner.fit([(0, 1)], [(0, 1)], [])


@pytest.mark.parametrize(("settings", "a"), [({}, 0.4), ({"alpha": 0.6, "iterations": 500}, 0.6)])
def test_isorank_is_the_fixed_point_of_its_equation(settings, a):
    first, second, anchors, _ = isomorphic_pair(20, seed=0)
    found = IsoRank(**settings).fit(first, second, anchors).similarity_
    walk1, walk2 = (m.toarray() / m.toarray().sum(axis=0) for m in (first, second))
    known = np.zeros((20, 20))
    known[anchors[:, 0], anchors[:, 1]] = 1
    solved = np.linalg.solve(np.eye(400) - a * np.kron(walk1, walk2), (1 - a) * known.ravel())
    assert found.ravel() == pytest.approx(solved, abs=1e-7)


def test_final_is_its_recursion_written_out():
    first, second, anchors, _ = isomorphic_pair(15, seed=0)
    A1, A2 = first.toarray(), second.toarray()
    N = np.sqrt(np.outer(1 / A1.sum(1), 1 / A2.sum(1)))
    known = np.zeros((15, 15))
    known[anchors[:, 0], anchors[:, 1]] = 1
    S = 0.5 * known
    for _ in range(50):
        S = 0.5 * N * (A1 @ (N * S) @ A2) + 0.5 * known
    assert FINAL().fit(first, second, anchors).similarity_ == pytest.approx(S, abs=1e-12)


def test_parrot_without_its_extras_is_entropic_transport_of_the_node_cost():
    first, second, anchors, _ = isomorphic_pair(15, seed=0)
    plain = PARROT(edges=0, neighbours=0, prior=0, proximal=0.05, in_iter=200, out_iter=1).fit(first, second, anchors)
    whole = PARROT(edges=0, neighbours=0, prior=0, proximal=0.05)
    whole.anchors_ = anchors
    seen = {}

    def keep(cost, *rest):
        seen["cost"] = torch.from_numpy(cost)
        return torch.zeros(15, 15)

    whole._transport = keep
    whole._align(first, second, None, None)
    plan, _ = log_sinkhorn(seen["cost"], torch.zeros(15, dtype=torch.float64), temperature=0.05, iterations=200)
    assert plain.similarity_ == pytest.approx(0.05 / 225 + 0.95 * plan.numpy(), abs=1e-12)


def parrot_written_out(A1, A2, anchors, X1, X2, F1, F2):
    """The official defaults, with dense matrices and sums of logarithms."""
    alpha, beta, gamma, proximal, edges, neighbours, prior = 0.5, 0.15, 0.75, 5e-4, 1e-5, 5e-3, 5e-4

    def E(U, V):
        return np.exp(-(U / np.linalg.norm(U, axis=1)[:, None]) @ (V / np.linalg.norm(V, axis=1)[:, None]).T)

    n1, n2 = len(A1), len(A2)
    P1, P2 = A1 / A1.sum(1, keepdims=True), A2 / A2.sum(1, keepdims=True)
    M0 = alpha * E(X1, X2) + E(F1, F2)
    M0[anchors[:, 0], anchors[:, 1]] = 0
    M = np.zeros((n1, n2))
    for _ in range(50):
        before, M = M, (1 + beta) * M0 + (1 - beta) * gamma * P1 @ M @ P2.T
        if np.abs(M - before).max() < 1e-2:
            break
    M = (1 - gamma) * M
    C1, C2 = A1 * E(F1, F1), A2 * E(F2, F2)
    H = np.full((n1, n2), 1e-6)
    H[anchors[:, 0], anchors[:, 1]] = 1
    level = neighbours + prior + proximal
    S, b, C = np.full((n1, n2), 1 / (n1 * n2)), np.full((1, n2), 1 / n2), None
    for _ in range(10):
        L = (C1**2).sum(1, keepdims=True) / n1 + (C2**2).sum(1) / n2 - 2 * C1 @ S @ C2.T
        fresh = M + edges * n1 * n2 * L - neighbours * np.log(P1.T @ S @ P2) - prior * np.log(H)
        if C is None or (S * fresh).sum() <= (S * C).sum():
            C = fresh
        K = C - proximal * np.log(S)
        for _ in range(5):
            a = -level * logsumexp((b - K) / level, axis=1, keepdims=True, b=1 / n2)
            b = -level * logsumexp((a - K) / level, axis=0, keepdims=True, b=1 / n1)
        S = 0.05 * S + 0.95 * np.exp((a + b - K) / level) / (n1 * n2)
    return S


@pytest.mark.parametrize("with_attributes", [False, True])
def test_parrot_is_its_steps_written_out(with_attributes):
    first, second, anchors, _ = isomorphic_pair(25, seed=2)
    second = ((second + barabasi(25, seed=9, attach=1)) > 0).astype(float)
    walks = rwr_features(first, second, anchors)
    rng = np.random.default_rng(0)
    known = (rng.normal(size=(25, 3)), rng.normal(size=(25, 3))) if with_attributes else walks
    wanted = parrot_written_out(first.toarray(), second.toarray(), anchors, *walks, *known)
    found = PARROT().fit(first, second, anchors, *(known if with_attributes else ())).similarity_
    assert found * 25 == pytest.approx(wanted * 25, abs=1e-6)


def test_parrot_beats_the_cosine_it_starts_from():
    first, second, anchors, rest = isomorphic_pair(80, seed=3)
    noisy = barabasi(80, seed=99, attach=1)
    second = ((second + noisy) > 0).astype(float)
    start = RWRCosine().fit(first, second, anchors).score(rest)
    assert PARROT().fit(first, second, anchors).score(rest) > start + 0.05


def test_ranks_count_the_better_and_half_of_the_equal():
    similarity = np.array([[0.5, 0.9, 0.5], [0.1, 0.2, 0.3], [0.0, 0.0, 0.0]])
    assert ranks(similarity, [(0, 0), (1, 2), (2, 1)], "ltr").tolist() == [2.5, 1.0, 2.0]
    assert ranks(similarity, [(0, 0), (1, 2), (2, 1)], "rtl").tolist() == [1.0, 2.0, 3.0]
    assert reciprocal_ranks(similarity, [(0, 0)]).tolist() == [0.5 / 2.5 + 0.5]


def test_metrics_by_hand():
    similarity = np.array([[0.5, 0.9, 0.1], [0.1, 0.2, 0.3], [0.3, 0.1, 0.2]])
    pairs = [(0, 0), (1, 1)]  # left to right ranks 2, 2; right to left 1, 2
    assert alignment_metrics(similarity, pairs, ks=(1,), direction="ltr") == {"mrr": 0.5, "hits@1": 0.0}
    assert alignment_metrics(similarity, pairs, ks=(1,), direction="rtl") == {"mrr": 0.75, "hits@1": 0.5}
    assert alignment_metrics(similarity, pairs, ks=(1, 2)) == {"mrr": 0.625, "hits@1": 0.25, "hits@2": 1.0}
    assert alignment_metrics(similarity, pairs, ks=(1,), direction="max") == {"mrr": 0.75, "hits@1": 0.5}


def test_a_constant_similarity_ranks_in_the_middle():
    assert (ranks(np.zeros((9, 9)), [(0, 0), (8, 8)], "ltr") == 5).all()


def test_metrics_refuse_what_says_nothing():
    with pytest.raises(ValueError, match="at least one test pair"):
        alignment_metrics(np.eye(3), [])
    with pytest.raises(ValueError, match="NaN"):
        alignment_metrics(np.full((2, 2), np.nan), [(0, 0)])
    with pytest.raises(ValueError, match="direction must be"):
        alignment_metrics(np.eye(3), [(0, 0)], direction="both")


def test_match_takes_the_best_of_each_row_or_one_to_one():
    aligner = RWRCosine()
    aligner.similarity_ = np.array([[0.9, 0.8], [0.7, 0.1]])
    assert aligner.match()[0].tolist() == [[0, 0], [1, 0]]
    pairs, scores = aligner.match("hungarian")
    assert pairs.tolist() == [[0, 1], [1, 0]]
    assert scores.tolist() == [0.8, 0.7]
