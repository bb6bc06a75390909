import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from tests.graphs.graphs_at_hand import barabasi, isomorphic_pair

from tameshi.graphs import JOENA, RWRCosine, alignment_metrics, joena
from tameshi.graphs.joena import Encoder, Problem, objective, optimal_shift
from tameshi.graphs.transport import fused_gromov, gromov_cost
from tameshi.graphs.walks import rwr_features
from tameshi.specimens.graph_pair import GraphPair

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def problem() -> Problem:
    first, second, anchors, _ = isomorphic_pair(24, seed=5, known=0.3)
    features = rwr_features(first, second, anchors)
    return Problem.of(first, second, *features, attributes=None, alpha=0.6)


def embedded(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    encoder = Encoder.drawn(problem.features1.shape[1], 8, 6, seed=1).double()
    with torch.no_grad():
        return encoder(problem.features1), encoder(problem.features2)


def test_the_best_shift_is_where_the_objective_is_smallest(problem):
    costs = problem.costs(*embedded(problem))
    coupling = fused_gromov(*costs, shift=1e-3, weight=2.0, temperature=1e-2)
    best = optimal_shift(*costs, coupling, 2.0)
    here, below, above = (objective(*costs, coupling, shift=best + d, weight=2.0) for d in (0, -1e-3, 1e-3))
    ones = torch.ones_like(coupling)
    k3 = float(gromov_cost(costs[1], costs[2], ones).sum())
    assert below - here == pytest.approx(2 * k3 * 1e-6, rel=1e-6)
    assert above - here == pytest.approx(2 * k3 * 1e-6, rel=1e-6)


def test_the_best_shift_of_a_worked_case():
    """The sums of the definition, k1 + 2 w k2 over 2 w k3, with the matrix of ones written out."""
    rng = np.random.default_rng(0)
    cost1, cost2 = (rng.random((n, n)) for n in (4, 3))
    cost1, cost2, cost = cost1 + cost1.T, cost2 + cost2.T, rng.random((4, 3))
    coupling = rng.dirichlet(np.ones(12)).reshape(4, 3)
    ones = np.ones((4, 3))
    B = (cost1**2) @ ones @ np.ones((3, 3)) + np.ones((4, 4)) @ ones @ cost2**2 - 2 * cost1 @ ones @ cost2.T
    by_hand = (cost.sum() + 4 * (B * coupling).sum()) / (4 * B.sum())
    assert optimal_shift(*map(torch.from_numpy, (cost, cost1, cost2, coupling)), 2.0) == pytest.approx(
        by_hand, rel=1e-12
    )


def test_the_best_shift_without_structure_is_zero():
    zero = torch.zeros(3, 3, dtype=torch.float64)
    assert optimal_shift(zero + 1, zero, zero, zero + 1 / 9, 2.0) == 0.0


@pytest.mark.parametrize("with_attributes", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_the_gradient_written_by_hand_equals_autograd_and_differences(dense, with_attributes):
    first, second, anchors, _ = isomorphic_pair(14, seed=2, known=0.3)
    rng = np.random.default_rng(0)
    attributes = (rng.random((14, 3)), rng.random((14, 3))) if with_attributes else None
    features = rwr_features(first, second, anchors)
    case = Problem.of(first, second, *features, attributes=attributes, alpha=0.6, dense=dense)
    points = [z.clone().requires_grad_() for z in embedded(case)]
    coupling = torch.from_numpy(rng.dirichlet(np.ones(14 * 14)).reshape(14, 14))
    shift = 2e-3

    def value(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
        cost, matrices = (-(z1 @ z2.T)).exp(), []
        if case.attributes is not None:
            cost = 0.95 * cost + 0.05 * (-(case.attributes[0] @ case.attributes[1].T)).exp()
        for side, (z, adjacency) in enumerate(((z1, first), (z2, second))):
            intra = (-(z @ z.T)).exp()
            if case.attributes is not None:
                intra = 0.95 * intra + 0.05 * (-(case.attributes[side] @ case.attributes[side].T)).exp()
            matrices.append(intra * torch.from_numpy(adjacency.toarray()))
        X, (C1, C2) = coupling - shift, matrices
        L = C1**2 @ X @ torch.ones(14, 14).double() + torch.ones(14, 14).double() @ X @ C2**2 - 2 * C1 @ X @ C2.T
        return (cost * X).sum() + case.weight * (L * X).sum()

    loss = value(*points)
    by_autograd = torch.autograd.grad(loss, points)
    detached = [z.detach() for z in points]
    written, *by_hand = case.gradients(*detached, case.costs(*detached), coupling, shift)
    assert written == pytest.approx(loss.item(), rel=1e-10)
    for ours, theirs in zip(by_hand, by_autograd, strict=True):
        assert ours == pytest.approx(theirs.numpy(), abs=1e-10)
    step = torch.zeros_like(detached[0])
    step[3, 2] = 1e-6
    with torch.no_grad():
        slope = (value(detached[0] + step, detached[1]) - value(detached[0] - step, detached[1])) / 2e-6
    assert by_hand[0][3, 2].item() == pytest.approx(slope.item(), rel=1e-4, abs=1e-9)


def test_the_encoder_is_one_hidden_layer_beside_a_skip_with_rows_of_length_one():
    encoder = Encoder.drawn(3, 5, 4, seed=2)
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    joined = torch.cat([x, (x @ encoder.inner.weight.T + encoder.inner.bias).clamp(min=0)], dim=1)
    z = joined @ encoder.outer.weight.T + encoder.outer.bias
    assert encoder(x).detach() == pytest.approx((z / z.norm(dim=1, keepdim=True)).detach().numpy(), abs=1e-6)


def official_recipe(A1, A2, anchors, *, alpha, gamma, epochs, seed):
    """Dense matrices, matrices of ones, sums of logarithms, autograd: (S, λ and J of every epoch)."""
    n1, n2 = len(A1), len(A2)
    weight, ones = alpha / (1 - alpha) * min(n1, n2) ** 0.5, torch.ones(n1, n2, dtype=torch.float64)
    walks = []
    for A, starts in ((A1, anchors[:, 0]), (A2, anchors[:, 1])):
        step = 0.85 * (A / A.sum(1, keepdim=True)).T
        walks.append(
            torch.linalg.solve(torch.eye(len(A)).double() - step, 0.15 * torch.eye(len(A)).double()[:, starts])
        )
    encoder = Encoder.drawn(len(anchors), 16, 12, seed=seed).double()
    adam = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    shift, noted = 0.5 / (n1 * n2), []

    def gromov(X, C1, C2):
        return C1**2 @ X @ ones.T @ ones / n1 + ones @ ones.T @ X @ C2**2 / n2 - 2 * C1 @ X @ C2.T

    for _ in range(epochs):
        Z1, Z2 = encoder(walks[0]), encoder(walks[1])
        M, C1, C2 = (-(Z1 @ Z2.T)).exp(), (-(Z1 @ Z1.T)).exp() * A1, (-(Z2 @ Z2.T)).exp() * A2
        with torch.no_grad():
            S, g = ones / (n1 * n2), torch.full((1, n2), 1 / n2, dtype=torch.float64)
            for _ in range(10):
                Q = M + weight * gromov(S - shift, C1, C2)
                for _ in range(5):
                    f = -gamma * torch.logsumexp((g - Q) / gamma, dim=1, keepdim=True) + gamma * np.log(1 / n1)
                    g = -gamma * torch.logsumexp((f - Q) / gamma, dim=0, keepdim=True) + gamma * np.log(1 / n2)
                S = 0.05 * S + 0.95 * ((f + g - Q) / gamma).exp()
            B = gromov(ones, C1, C2)
            best = (M.sum() + 2 * weight * (B * S).sum()) / (2 * weight * B.sum())
            shift = float(0.05 * best + 0.95 * shift)
        loss = (M * (S - shift)).sum() + weight * (gromov(S - shift, C1, C2) * (S - shift)).sum()
        noted.append((shift, loss.item()))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return S, noted


def test_three_epochs_are_those_of_the_official_recipe_written_out():
    first, second, anchors, _ = isomorphic_pair(30, seed=8, known=0.3)
    second = ((second + barabasi(30, seed=50, attach=1)) > 0).astype(float)
    dense = [torch.from_numpy(m.toarray()).double() for m in (first, second)]
    coupling, noted = official_recipe(*dense, anchors, alpha=0.6, gamma=1e-2, epochs=3, seed=4)
    ours = JOENA(alpha=0.6, gamma=1e-2, hidden=16, out=12, lr=1e-3, epochs=3, early_stop=None, seed=4).fit(
        first, second, anchors
    )
    assert ours.similarity_ == pytest.approx(coupling.numpy(), abs=1e-9)
    assert [epoch["lam"] for epoch in ours.history_] == pytest.approx([lam for lam, _ in noted], rel=1e-9)
    assert [epoch["loss"] for epoch in ours.history_] == pytest.approx([loss for _, loss in noted], rel=1e-9)


def test_the_objective_noted_is_the_objective(problem):
    z1, z2 = embedded(problem)
    costs = problem.costs(z1, z2)
    coupling = fused_gromov(*costs, shift=1e-3, weight=problem.weight, temperature=1e-2)
    loss, _, _ = problem.gradients(z1, z2, costs, coupling, 1e-3)
    assert loss == pytest.approx(objective(*costs, coupling, shift=1e-3, weight=problem.weight), rel=1e-10)


def test_the_coupling_has_the_right_sums(problem):
    costs = problem.costs(*embedded(problem))
    coupling = fused_gromov(*costs, shift=1e-3, weight=problem.weight, temperature=1e-2)
    assert coupling.sum(dim=0) == pytest.approx(np.full(24, 1 / 24), rel=1e-10)


def test_isomorphic_graphs_are_aligned_perfectly():
    first, second, anchors, rest = isomorphic_pair(60, seed=3)
    assert next(nx.isomorphism.GraphMatcher(*[nx.from_scipy_sparse_array(first)] * 2).isomorphisms_iter())
    automorphisms = nx.isomorphism.GraphMatcher(*[nx.from_scipy_sparse_array(first)] * 2).isomorphisms_iter()
    assert len(list(itertools.islice(automorphisms, 2))) == 1  # none but the identity
    aligner = JOENA().fit(first, second, anchors)
    assert aligner.score(rest) == 1.0
    pairs, similarity = aligner.match("hungarian")
    everything = dict(np.concatenate([anchors, rest]).tolist())
    assert all(everything[u] == v for u, v in pairs.tolist())
    assert (similarity > 0).all()


def test_relabelling_a_graph_permutes_the_answer():
    first, second, anchors, _ = isomorphic_pair(40, seed=1)
    names = np.random.default_rng(7).permutation(40)
    order = np.argsort(names)
    renamed = second[order][:, order]
    moved = np.stack([anchors[:, 0], names[anchors[:, 1]]], axis=1)
    # at gamma 1e-3 the transport of such small graphs is chaotic at first, and sums in another order show
    plain = JOENA(epochs=4, gamma=1e-2).fit(first, second, anchors).similarity_
    other = JOENA(epochs=4, gamma=1e-2).fit(first, renamed, moved).similarity_
    assert other[:, names] == pytest.approx(plain, abs=1e-9)


def test_relabelling_a_graph_changes_no_answer_at_the_default_settings():
    first, second, anchors, _ = isomorphic_pair(60, seed=1)
    names = np.random.default_rng(7).permutation(60)
    order = np.argsort(names)
    moved = np.stack([anchors[:, 0], names[anchors[:, 1]]], axis=1)
    plain = JOENA().fit(first, second, anchors).match("hungarian")[0]
    other = JOENA().fit(first, second[order][:, order], moved).match("hungarian")[0]
    assert (other[:, 1] == names[plain[:, 1]]).all()


def test_the_default_never_looks_at_test_pairs():
    first, second, anchors, rest = isomorphic_pair(40, seed=4)
    blind = JOENA(epochs=4).fit(first, second, anchors)
    watched = JOENA(epochs=4).fit(first, second, anchors, watch=rest)
    assert (blind.similarity_ == watched.similarity_).all()
    assert all(not epoch["watched"] for epoch in blind.history_)


def test_the_protocol_of_the_paper_is_labelled_optimistic_and_never_below_ours():
    first, second, anchors, rest = isomorphic_pair(40, seed=4)
    aligner = JOENA(epochs=4).fit(first, second, anchors, watch=rest)
    ours, theirs = aligner.metrics(rest), aligner.metrics(rest, protocol="paper")
    assert "optimistic" in str(theirs["protocol"])
    assert "optimistic" not in str(ours["protocol"])
    assert all(theirs[name] >= value for name, value in ours.items() if name != "protocol")
    with pytest.raises(ValueError, match="watch=test_pairs"):
        JOENA(epochs=2).fit(first, second, anchors).metrics(rest, protocol="paper")


def test_without_the_shift_the_embedding_collapses():
    first, second, anchors, rest = isomorphic_pair(60, seed=1)
    trained = JOENA(early_stop=None).fit(first, second, anchors)
    collapsed = JOENA(early_stop=None, lambda_init=0, lambda_momentum=0).fit(first, second, anchors)
    assert collapsed.score(rest) < 0.7 < trained.score(rest)
    assert all(epoch["lam"] == 0 for epoch in collapsed.history_)


def test_the_same_seed_gives_the_same_alignment_and_leaves_the_global_generator_alone():
    first, second, anchors, _ = isomorphic_pair(30, seed=4)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one, two = (JOENA(epochs=3, seed=5).fit(first, second, anchors).similarity_ for _ in range(2))
    assert (one == two).all()
    assert (torch.random.get_rng_state() == state).all()


def test_isolated_nodes_and_one_anchor_give_finite_numbers():
    with pytest.warns(UserWarning, match="too few to hold a fifth out"):
        aligner = JOENA(epochs=3).fit([(0, 1), (1, 2)], [(0, 1), (1, 2)], [(1, 1)], num_nodes=(5, 4))
    assert aligner.similarity_.shape == (5, 4)
    assert np.isfinite(aligner.similarity_).all()


def test_attributes_help_where_structure_says_nothing():
    ring = [(i, (i + 1) % 12) for i in range(12)]
    attributes = np.random.default_rng(0).normal(size=(12, 6))
    truth = np.stack([np.arange(12)] * 2, axis=1)
    settings = {"epochs": 3, "early_stop": None, "gamma": 1e-2}
    for how in ("costs", "features"):
        found = JOENA(**settings, attributes=how).fit(ring, ring, [(0, 0)], attributes, attributes)
        bare = JOENA(**settings).fit(ring, ring, [(0, 0)])
        assert found.score(truth) > bare.score(truth)


def test_training_that_destroys_the_alignment_warns():
    first, second, anchors, _ = isomorphic_pair(60, seed=6)
    with pytest.warns(UserWarning, match="most pairs repel"):
        JOENA(epochs=2, lambda_init=2.0, lambda_momentum=0.0).fit(first, second, anchors)


def test_ranks_that_fall_five_times_warn_even_if_they_rise_again():
    def noted(*ranks: float) -> JOENA:
        aligner = JOENA()
        aligner.history_ = [{"loss": 0.0, "lam": 1e-3, "mrr_val": rank, "watched": {}} for rank in ranks]
        return aligner

    with pytest.warns(UserWarning, match="fell for 5 epochs"):
        noted(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.5, 0.6)._warn(1000)
    noted(0.9, 0.8, 0.7, 0.6, 0.65, 0.6, 0.5)._warn(1000)  # no warning, which would be an error here


def test_an_unlucky_setting_destroys_a_good_start_but_the_held_out_anchors_keep_it():
    pair = GraphPair.open("specimen:ba").drawn(0.2, 0)
    settings = {"gamma": 1e-2, "lambda_init": 1.0, "epochs": 12}
    last = JOENA(**settings, early_stop=None).fit(pair.g1, pair.g2, pair.anchors, watch=pair.test)
    curve = [epoch["watched"]["mean"]["mrr"] for epoch in last.history_]
    assert curve[0] > 0.8
    assert curve[-1] < 0.15
    with pytest.warns(UserWarning, match="fell for 5 epochs"):
        kept = JOENA(**settings).fit(pair.g1, pair.g2, pair.anchors)
    assert kept.score(pair.test) > 0.8


def test_a_pair_too_large_for_most_machines_warns_before_it_starts(monkeypatch):
    class Begun(Exception):
        pass

    def stop(*_, **__):
        raise Begun

    monkeypatch.setattr(joena, "rwr_features", stop)
    with pytest.warns(UserWarning, match=r"20,001 x 20,000 nodes need about 21 GiB"), pytest.raises(Begun):
        JOENA(early_stop=None).fit([(0, 1)], [(0, 1)], [(0, 0)], num_nodes=(20_001, 20_000))


def test_float32_is_near_float64():
    first, second, anchors, _ = isomorphic_pair(40, seed=4)
    single = JOENA(epochs=3, dtype="float32", gamma=1e-2).fit(first, second, anchors)
    double = JOENA(epochs=3, gamma=1e-2).fit(first, second, anchors)
    assert single.similarity_ == pytest.approx(double.similarity_, abs=2e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.0}, r"alpha must be in \[0, 1\)"),
        ({"gamma": 0.0}, "gamma must be above 0"),
        ({"gamma": 1e-4, "dtype": "float32"}, "float32 needs gamma of at least 5e-4"),
        ({"dtype": "bfloat16"}, "dtype must be"),
        ({"epochs": -1}, "epochs must be at least 0"),
        ({"early_stop": "test"}, "early_stop must be"),
        ({"attributes": "other"}, "attributes must be"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lambda_momentum": 1.5}, r"lambda_momentum must be in \[0, 1\]"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        JOENA(**settings)


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        (np.ones((3, 2)), None, "both graphs or for none"),
        (np.ones((2, 2)), np.ones((3, 2)), r"graph 1 must have shape \(3, f\)"),
        (np.ones((3, 2)), np.full((3, 2), np.nan), "graph 2 hold NaN"),
        (np.ones((3, 2)), np.ones((3, 1)), "same attributes"),
    ],
)
def test_attributes_that_cannot_be_are_refused(x1, x2, message):
    with pytest.raises(ValueError, match=message):
        JOENA().fit([(0, 1), (1, 2)], [(0, 1), (1, 2)], [(0, 0)], x1, x2)


def test_an_aligner_that_is_not_fitted_says_so():
    with pytest.raises(ValueError, match="not fitted"):
        JOENA().match()
    aligner = RWRCosine().fit(barabasi(9, 0), barabasi(9, 0), [(0, 0)])
    with pytest.raises(ValueError, match="argmax"):
        aligner.match("best")
    assert alignment_metrics(aligner.similarity_, [(0, 0)])["mrr"] > 0
