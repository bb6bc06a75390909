import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from torch.distributions import MultivariateNormal, kl_divergence

from tameshi.tabular.deep_gp import DeepGPRegressor, _Layer, conditional, divergence


def wave(rows: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(rows, 2))
    return X, 5 + np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.standard_normal(rows)


def exact_layer(X: np.ndarray, y: np.ndarray, noise: float) -> _Layer:
    """The optimal q(v) of a sparse process whose inducing inputs are the rows: it is the exact process (Titsias 2009)."""
    scale, length = 1.3, np.array([0.7, 1.1])
    gram = scale**2 * np.exp(-((X[:, None] / length - X[None] / length) ** 2).sum(axis=2) / 2)
    root = np.linalg.cholesky(gram + 1e-6 * scale**2 * np.eye(len(X)))
    precision = np.eye(len(X)) + root.T @ root / noise**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ root.T @ y / noise**2
    return _Layer(
        torch.from_numpy(X),
        torch.from_numpy(mean[:, None]),
        torch.from_numpy(np.linalg.cholesky(covariance)[None]),
        torch.from_numpy(np.log(length)),
        torch.tensor(np.log(scale)),
    )


def test_with_the_optimal_inducing_values_it_is_the_exact_gaussian_process():
    X, y = wave(40)
    y = y - y.mean()
    noise = 0.3
    new = np.random.default_rng(1).uniform(-2, 2, size=(25, 2))
    mean, variance = conditional(exact_layer(X, y, noise), torch.from_numpy(new))
    kernel = ConstantKernel(1.3**2, "fixed") * RBF([0.7, 1.1], "fixed")
    exact = GaussianProcessRegressor(kernel, alpha=noise**2).fit(X, y)
    wanted, std = exact.predict(new, return_std=True)
    np.testing.assert_allclose(mean[:, 0], wanted, atol=1e-4)
    np.testing.assert_allclose(variance[:, 0], std**2, atol=1e-4)


def test_inducing_values_from_the_prior_give_the_prior_back():
    X, _ = wave(20)
    layer = exact_layer(X, np.zeros(20), 0.3)
    prior = layer._replace(mean=torch.zeros(20, 1, dtype=torch.float64), root=torch.eye(20, dtype=torch.float64)[None])
    mean, variance = conditional(prior, torch.from_numpy(np.random.default_rng(2).normal(size=(9, 2))))
    assert not mean.any()
    np.testing.assert_allclose(variance, 1.3**2, rtol=1e-5)


def test_the_divergence_is_that_of_torch_distributions():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    root = torch.tril(torch.randn(2, 5, 5, generator=generator, dtype=torch.float64)) + 3 * torch.eye(5).double()
    standard = MultivariateNormal(torch.zeros(5).double(), torch.eye(5).double())
    theirs = sum(kl_divergence(MultivariateNormal(mean[:, k], scale_tril=root[k]), standard) for k in range(2))
    torch.testing.assert_close(divergence(mean, root), theirs)


def test_one_layer_learns_to_be_nearly_the_exact_process():
    X, y = wave()
    sparse = DeepGPRegressor(inducing=40, layers=0, steps=500, batch_size=None).fit(X, y)
    mean, std = sparse.predict(X, return_std=True)
    assert sparse.noise_ == pytest.approx(0.1, rel=0.5)
    assert np.corrcoef(mean, y)[0, 1] > 0.98
    assert np.all(std >= sparse.noise_)


def test_two_layers_bend_to_a_step_that_one_smooth_layer_cannot_follow():
    rng = np.random.default_rng(0)
    X = np.sort(rng.uniform(-1, 1, size=(150, 1)), axis=0)
    y = np.where(X[:, 0] > 0, 1.0, -1.0) + 0.02 * rng.standard_normal(150)
    deep = DeepGPRegressor(inducing=25, layers=1, steps=400, batch_size=None).fit(X, y)
    assert np.abs(deep.predict(X) - np.sign(X[:, 0])).mean() < 0.1


def test_a_row_s_answer_does_not_depend_on_its_neighbours_and_comes_back():
    X, y = wave(60)
    model = DeepGPRegressor(inducing=10, steps=20, draws=3).fit(X, y)
    np.testing.assert_allclose(model.predict(X)[:5], model.predict(X[:5]), rtol=1e-9)
    again = DeepGPRegressor(inducing=10, steps=20, draws=3).fit(X, y)
    assert np.array_equal(model.predict(X), again.predict(X))


def test_equal_rows_leave_fewer_inducing_inputs():
    X, y = np.repeat(np.arange(4.0), 5)[:, None], np.arange(20.0)
    assert len(DeepGPRegressor(inducing=10, steps=5).fit(X, y).layers_[0][0]) == 4


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"inducing": 0}, "inducing must be at least 1, got 0"),
        ({"layers": -1}, "layers must be at least 0, got -1"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        DeepGPRegressor(**wrong).fit(*wave(10))
