import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.graphs import GradientAttack, fgm, pgd
from tameshi.graphs.attacks import (
    as_norm,
    boundary_distance,
    dual_norm,
    random_search,
    robust_margin,
    worst_linear,
    worst_squares,
)

torch.set_num_threads(1)
W = np.array([[1.0, 2.0], [0.0, -1.0]])
X = np.array([[1.0, 0.0], [2.0, 1.0]])
Y = np.array([1.0, -1.0])
EPS = np.array([0.5, 0.2])
PRIMAL = {2: 2, "inf": np.inf, 1: 1}


def test_worst_samples_of_the_worked_example():
    assert X + worst_linear(W, Y, EPS, 2) == pytest.approx(np.array([[0.7763932, -0.4472136], [2, 0.8]]), abs=1e-7)
    assert X + worst_linear(W, Y, EPS, "inf") == pytest.approx(np.array([[0.5, -0.5], [2, 0.8]]))
    assert X + worst_linear(W, Y, EPS, 1) == pytest.approx(np.array([[1, -0.5], [2, 0.8]]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from([1, 2, "inf"]))
def test_no_point_of_the_ball_is_worse(seed, norm):
    rng = np.random.default_rng(seed)
    weights, label, eps = rng.normal(size=5), rng.choice([-1.0, 1.0]), rng.uniform(0.1, 2)
    found = worst_linear(weights, np.array(label), eps, norm)
    assert np.linalg.norm(found, PRIMAL[norm]) == pytest.approx(eps)
    points = rng.normal(size=(1000, 5))
    points *= eps / np.linalg.norm(points, PRIMAL[norm], axis=1, keepdims=True)
    assert (label * points @ weights).min() >= label * found @ weights - 1e-12
    assert -label * found @ weights == pytest.approx(eps * dual_norm(weights, norm))


def test_the_worst_of_squares_grows_the_error_and_zero_counts_as_plus():
    weights = np.array([3.0, 4.0])
    assert worst_squares(weights, np.array(2.0), 0.5) == pytest.approx([-0.3, -0.4])
    assert worst_squares(weights, np.array(-2.0), 0.5) == pytest.approx([0.3, 0.4])
    assert worst_squares(weights, np.array(0.0), 0.5) == pytest.approx([-0.3, -0.4])


def test_a_model_of_zeros_is_not_attacked():
    for norm in (1, 2, "inf"):
        assert not worst_linear(np.zeros((2, 3)), np.ones(2), 1.0, norm).any()


@pytest.mark.parametrize("norm", [1, 2, "inf"])
def test_the_margin_formula_equals_accuracy_after_the_attack(norm):
    rng = np.random.default_rng(0)
    inputs, labels, weights = rng.normal(size=(200, 4)), rng.choice([-1.0, 1.0], size=200), rng.normal(size=4)
    attacked = inputs + worst_linear(np.broadcast_to(weights, inputs.shape), labels, 0.3, norm)
    assert robust_margin(inputs, labels, weights, 0.3, norm, 0.1) == pytest.approx(labels * (attacked @ weights + 0.1))


def test_an_input_moved_by_its_distance_lies_on_the_boundary():
    weights, inputs = np.array([3.0, 4.0]), np.array([[1.0, 1.0], [-2.0, 0.0]])
    distance = boundary_distance(inputs, weights, -1.0)
    assert distance == pytest.approx([6 / 5, 7 / 5])
    labels = np.sign(inputs @ weights - 1)
    moved = inputs - (labels * distance)[:, None] * weights / 5
    assert moved @ weights - 1 == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("norm", [2, "inf"])
@pytest.mark.parametrize("make", [fgm, lambda eps, norm: pgd(eps, norm, steps=50, alpha=eps)])
def test_gradient_attacks_find_the_exact_worst_of_a_linear_model(norm, make):
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def model(x):
        return torch.stack([torch.zeros_like(x[..., 0]), x @ weights], dim=-1)

    x = torch.tensor([[0.2, 0.1, -0.4], [1.0, 0.0, 0.3]], dtype=torch.float64)
    y = torch.tensor([1, 0])
    exact = worst_linear(np.broadcast_to(weights.numpy(), (2, 3)), np.array([1.0, -1.0]), 0.4, norm)
    found = make(0.4, norm)(model, x, y) - x
    assert found.numpy() @ weights.numpy() == pytest.approx(exact @ weights.numpy(), abs=1e-6)


def test_attacks_stay_in_the_ball_and_in_the_range():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x, y = torch.rand(10, 6), torch.arange(10) % 3
    for norm, order in ((2, 2), ("inf", float("inf"))):
        moved = pgd(0.5, norm, bounds=(0.0, 1.0))(net, x, y)
        assert (torch.linalg.vector_norm(moved - x, order, dim=1) <= 0.5 + 1e-6).all()
        assert moved.min() >= 0
        assert moved.max() <= 1
    assert (pgd(0.0)(net, x, y) == x).all()


def test_random_search_finds_no_more_than_the_gradient_unless_gradients_are_masked():
    torch.manual_seed(0)
    weights = torch.randn(4)
    x = torch.randn(60, 4)
    y = (x @ weights > 0).long()

    def honest(x):
        return torch.stack([torch.zeros_like(x[..., 0]), x @ weights], dim=-1)

    def masked(x):
        return honest(x).detach() + 0 * x.sum(dim=-1, keepdim=True)

    for norm in (2, "inf"):
        by_gradient = honest(fgm(0.5, norm)(honest, x, y)).argmax(-1) == y
        assert (by_gradient <= random_search(honest, x, y, 0.5, norm)).all()
    misled = masked(pgd(0.5, steps=2, alpha=0.0)(masked, x, y)).argmax(-1) == y
    assert misled.sum() > random_search(masked, x, y, 0.5).sum()


def test_every_agent_has_its_own_strength():
    x, y = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)
    moved = fgm(torch.tensor([0.1, 0.7]))(lambda x: torch.stack([x.sum(-1), -x.sum(-1)], -1), x, y)
    assert torch.linalg.vector_norm(moved, dim=-1).mean(dim=1) == pytest.approx([0.1, 0.7])
    assert fgm(torch.tensor([0.1, 0.7])).agent(1).eps == pytest.approx(0.7)
    assert fgm(0.3).agent(1).eps == 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientAttack(-0.1), "eps must be finite and at least 0"),
        (lambda: fgm(torch.tensor([0.1, torch.nan])), "eps must be finite and at least 0"),
        (lambda: GradientAttack(0.1, 1), "norm 1 is exact for linear models only"),
        (lambda: GradientAttack(0.1, steps=0), "steps must be at least 1"),
        (lambda: as_norm(3), "norm must be 1, 2 or inf"),
        (lambda: fgm(torch.ones(3))(lambda x: x, torch.zeros(2, 4), torch.zeros(2)), "3 strengths for 2 agents"),
    ],
)
def test_attacks_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_infinity_may_be_written_as_a_number():
    assert as_norm(np.inf) == "inf"
