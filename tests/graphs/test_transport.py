import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graphs.graphs_at_hand import barabasi

from tameshi.graphs import sparse
from tameshi.graphs.sparse import Pattern
from tameshi.graphs.transport import fused_gromov, gromov_cost, log_sinkhorn, row_sums, sinkhorn, squared

torch.set_num_threads(1)


def random_costs(seed: int, n1: int = 9, n2: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    cost1, cost2 = (torch.rand(n, n, generator=rng, dtype=torch.float64) for n in (n1, n2))
    return torch.rand(n1, n2, generator=rng, dtype=torch.float64), cost1 + cost1.T, cost2 + cost2.T


def test_two_by_two_by_hand():
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    zero = torch.zeros(2, 2, dtype=torch.float64)
    coupling = fused_gromov(swap, zero, zero, shift=0.1, weight=0.0, temperature=1.0, outer=1)
    assert coupling.tolist() == [
        pytest.approx([0.35975282, 0.14024718], abs=1e-8),
        pytest.approx([0.14024718, 0.35975282], abs=1e-8),
    ]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([1e-3, 1e-2, 1.0]), iterations=st.integers(1, 6))
def test_scaled_updates_equal_updates_in_the_log_domain(seed, temperature, iterations):
    cost, _, _ = random_costs(seed)
    potential = torch.zeros(7, dtype=torch.float64)
    fast, fast_potential = sinkhorn(cost, potential, temperature=temperature, iterations=iterations)
    slow, slow_potential = log_sinkhorn(cost, potential, temperature=temperature, iterations=iterations)
    assert fast == pytest.approx(slow.numpy(), abs=1e-12)
    assert fast_potential == pytest.approx(slow_potential.numpy(), abs=1e-9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([1e-3, 1e-1, 10.0]))
def test_columns_of_the_plan_sum_to_their_share(seed, temperature):
    cost, _, _ = random_costs(seed)
    plan, _ = sinkhorn(cost, torch.zeros(7, dtype=torch.float64), temperature=temperature, iterations=3)
    assert plan.sum(dim=0) == pytest.approx(np.full(7, 1 / 7), rel=1e-12)


def test_costs_beyond_the_range_of_exponentials_stay_finite():
    cost = torch.tensor([[0.0, 5000.0], [1.0, 5000.0], [0.5, 5000.0]], dtype=torch.float64)
    plan, _ = sinkhorn(cost, torch.zeros(2, dtype=torch.float64), temperature=1.0, iterations=5)
    assert torch.isfinite(plan).all()
    assert plan.sum(dim=0) == pytest.approx(np.full(2, 0.5))


def test_the_gromov_cost_is_its_definition():
    _, cost1, cost2 = random_costs(3)
    coupling, _, _ = random_costs(4)
    shifted = coupling - 0.3
    by_hand = torch.zeros(9, 7, dtype=torch.float64)
    for i in range(9):
        for j in range(7):
            by_hand[i, j] = ((cost1[i][:, None] - cost2[j]) ** 2 * shifted).sum()
    # |c1 - c2|² = c1² + c2² - 2 c1 c2, summed over the coupling
    assert gromov_cost(cost1, cost2, coupling, 0.3) == pytest.approx(by_hand.numpy(), abs=1e-10)


def test_products_in_pieces_are_the_same_products(monkeypatch):
    _, cost1, cost2 = random_costs(3)
    coupling, _, _ = random_costs(4)
    graph = barabasi(9, seed=1)
    whole = gromov_cost(cost1, cost2, coupling, 0.3), Pattern.of(graph, dense=False).between_ends(coupling, cost2)
    monkeypatch.setattr(sparse, "BLOCK", 4)
    pieces = gromov_cost(cost1, cost2, coupling, 0.3), Pattern.of(graph, dense=False).between_ends(coupling, cost2)
    csr = Pattern.of(graph, dense=False).matrix(torch.arange(graph.nnz, dtype=torch.float64))
    assert sparse.some_rows(csr, slice(3, 7)).to_dense().tolist() == csr.to_dense()[3:7].tolist()
    for one, other in zip(whole, pieces, strict=True):
        assert one == pytest.approx(other.numpy(), abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.01])
def test_sparse_and_dense_products_agree(shift):
    rng = np.random.default_rng(0)
    coupling = torch.from_numpy(rng.random((30, 40)))
    built = {}
    for dense in (False, True):
        patterns = [Pattern.of(barabasi(n, seed=n), dense=dense) for n in (30, 40)]
        rng = np.random.default_rng(1)
        matrices = []
        for pattern in patterns:
            full = rng.random(pattern.adjacency.shape)
            matrices.append(pattern.matrix(torch.from_numpy((full + full.T)[pattern.rows, pattern.columns])))
        edges = patterns[0].between_ends(coupling, matrices[1])
        built[dense] = (gromov_cost(*matrices, coupling, shift), row_sums(squared(matrices[0])), edges)
    for one, dense in zip(built[False], built[True], strict=True):
        assert one == pytest.approx(dense.numpy(), abs=1e-10)
