import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVR, NuSVR

from tameshi.tabular.tube import best_intercept, half_gram, solve_tube

SOLVER = {"tol": 1e-10, "max_steps": 200}


def sinc(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, size=(rows, 1))
    return x, np.sinc(x[:, 0]) + 0.05 * rng.normal(size=rows)


def test_two_balls_solved_by_hand():
    """Centres -1 and 1 with those targets: w = 11/12, and both sides of both balls stick out of the tube."""
    centers, targets = np.array([[-1.0], [1.0]]), np.array([-1.0, 1.0])
    tube = solve_tube(centers, np.full(2, 0.2), targets, np.full(2, 10.0), 0.1, **SOLVER)
    assert tube.norm == pytest.approx(11 / 12, rel=1e-8)
    assert tube.intercept == pytest.approx(0, abs=1e-8)
    assert tube.primal == pytest.approx(3.75347222, rel=1e-8)
    assert tube.dual == pytest.approx(3.75347222, rel=1e-8)
    assert tube.above == pytest.approx([6.2847222, 10], rel=1e-6)
    assert tube.below == pytest.approx([10, 6.2847222], rel=1e-6)
    flat = solve_tube(centers, np.zeros(2), targets, np.full(2, 10.0), 0.1, **SOLVER)
    assert flat.norm == pytest.approx(0.9, rel=1e-8)


def test_without_radii_it_is_support_vector_regression():
    x, y = sinc(60)
    gram = rbf_kernel(x, gamma=1.0)
    tube = solve_tube(half_gram(gram), np.zeros(60), y, np.full(60, 5.0), 0.05, **SOLVER)
    svr = SVR(kernel="precomputed", C=5, epsilon=0.05, tol=1e-9).fit(gram, y)
    np.testing.assert_allclose(gram @ tube.coefficients + tube.intercept, svr.predict(gram), atol=3e-6)


@pytest.mark.parametrize("nu", [0.1, 0.5, 0.9])
def test_without_radii_a_tube_whose_width_is_found_is_nu_regression(nu):
    x, y = sinc(60)
    gram = rbf_kernel(x, gamma=1.0)
    tube = solve_tube(half_gram(gram), np.zeros(60), y, np.full(60, 5.0), 9.0, nu=nu, **SOLVER)
    plain = NuSVR(kernel="precomputed", C=5, nu=nu, tol=1e-9).fit(gram, y)
    np.testing.assert_allclose(gram @ tube.coefficients + tube.intercept, plain.predict(gram), atol=5e-6)


@pytest.mark.parametrize("nu", [0.2, 0.5, 0.8])
def test_the_width_that_is_found_leaves_a_share_of_nu_outside(nu):
    """Both sides of a ball count: what sticks out holds at most nu of all costs, what touches at least nu."""
    x, y = sinc(60)
    features, radii, costs = half_gram(rbf_kernel(x, gamma=1.0)), np.linspace(0, 0.1, 60), np.linspace(1, 3, 60)
    tube = solve_tube(features, radii, y, costs, 0.0, nu=nu, **SOLVER)
    assert tube.above.sum() + tube.below.sum() == pytest.approx(nu * costs.sum(), rel=1e-6)
    off = y - features @ (features.T @ tube.coefficients) - tube.intercept
    over = np.stack([off, -off]) + radii * tube.norm - tube.epsilon
    assert ((over > 1e-6) * costs).sum() <= nu * costs.sum()
    assert ((over > -1e-6) * costs).sum() >= nu * costs.sum() * (1 - 1e-6)
    given = solve_tube(features, radii, y, costs, tube.epsilon, **SOLVER)
    assert given.norm == pytest.approx(tube.norm, rel=1e-4), "the same tube, when its width is given"
    assert given.primal + nu * costs.sum() * tube.epsilon == pytest.approx(tube.primal, rel=1e-6)


def test_an_independent_solver_finds_no_better_tube():
    """The primal in (w, b) as one smoothed function, handed to BFGS from the answer and from elsewhere."""
    x, y = sinc(25)
    gram = rbf_kernel(x, gamma=1.0)
    features, radii, costs = half_gram(gram), np.linspace(0.01, 0.1, 25), np.linspace(1, 3, 25)
    tube = solve_tube(features, radii, y, costs, 0.05, **SOLVER)

    def primal(v, soft):
        error = y - features @ v[:-1] - v[-1]
        over = np.stack([error, -error]) + radii * np.sqrt(v[:-1] @ v[:-1] + soft**2) - 0.05
        return v[:-1] @ v[:-1] / 2 + (costs * (over + np.sqrt(over**2 + soft**2)) / 2).sum()

    v = np.r_[0.1 * np.ones(features.shape[1]), 0.0]
    for soft in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        v = minimize(primal, v, args=(soft,), method="BFGS", options={"maxiter": 3000}).x
    assert tube.primal <= primal(v, 0.0) * (1 + 1e-9)
    assert tube.primal == pytest.approx(primal(v, 0.0), rel=1e-3)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    balls=st.integers(2, 40),
    radius=st.floats(0, 1),
    cost=st.floats(0.01, 1000),
    epsilon=st.floats(0, 0.5),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_the_gap_closes_and_the_multipliers_are_feasible(balls, radius, cost, epsilon, scale, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(balls, 2)), scale * rng.normal(size=balls)
    features = half_gram(rbf_kernel(x, gamma=0.5))
    costs = cost * scale * rng.integers(1, 9, size=balls)
    tube = solve_tube(features, radius * rng.uniform(size=balls), y, costs, epsilon, tol=1e-4, max_steps=200)
    assert tube.converged
    median_loss = costs @ np.abs(y - np.median(y))
    assert -1e-9 * median_loss <= tube.primal - tube.dual <= 1e-3 * max(tube.primal, 1e-3 * median_loss)
    for side in (tube.above, tube.below):
        assert np.all((side >= 0) & (side <= costs * (1 + 1e-12)))
    assert tube.above.sum() == pytest.approx(tube.below.sum(), rel=1e-9)


def test_the_norm_falls_as_the_balls_grow():
    x, y = sinc(60)
    features = half_gram(rbf_kernel(x, gamma=1.0))
    norms = {
        r: solve_tube(features, np.full(60, r), y, np.full(60, 5.0), 0.05, **SOLVER).norm
        for r in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
    }
    assert list(norms.values()) == sorted(norms.values(), reverse=True)
    assert norms[0.02] == pytest.approx(1.21333, abs=1e-5)
    assert norms[0.1] == pytest.approx(0.86368, abs=1e-5)
    assert norms[0.3] == pytest.approx(0, abs=1e-9), "balls far wider than the tube leave a constant"


def test_a_constant_tube_sits_at_the_weighted_median():
    y = np.array([0.0, 1.0, 5.0])
    tube = solve_tube(np.eye(3), np.full(3, 10.0), y, np.array([1.0, 5.0, 1.0]), 0.1, **SOLVER)
    assert tube.norm == pytest.approx(0, abs=1e-9)
    assert tube.intercept == pytest.approx(1.0, abs=0.1 + 1e-9)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(balls=st.integers(1, 12), seed=st.integers(0, 1000))
def test_no_other_break_point_is_a_better_intercept(balls, seed):
    rng = np.random.default_rng(seed)
    residual, width, costs = rng.normal(size=balls), rng.normal(size=balls), rng.uniform(0.1, 3, size=balls)

    def loss(b):
        return (costs * (np.maximum(residual - b - width, 0) + np.maximum(b - residual - width, 0))).sum()

    best = loss(best_intercept(residual, width, costs))
    assert all(best <= loss(b) + 1e-9 for b in np.r_[residual - width, residual + width])


def test_a_free_intercept_is_the_middle():
    assert best_intercept(np.array([0.0, 1.0]), np.array([0.1, 0.1]), np.ones(2)) == pytest.approx(0.5)


def test_features_of_a_rank_deficient_kernel_give_the_kernel_back():
    x = np.repeat(np.linspace(0, 1, 5), 4)[:, None]
    gram = rbf_kernel(x, gamma=2.0)
    features = half_gram(gram)
    assert features.shape == (20, 5)
    np.testing.assert_allclose(features @ features.T, gram, atol=1e-10)
