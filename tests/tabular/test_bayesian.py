import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tameshi.tabular.bayesian import BayesianMLPRegressor, divergence


def line(rows: int = 200, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(rows, 1))
    return X, 10 + 3 * X[:, 0] + noise * rng.standard_normal(rows)


def test_the_divergence_is_that_of_torch_distributions():
    torch.manual_seed(0)
    mean, rho, bias = torch.randn(4, 3), torch.randn(4, 3), torch.zeros(3)
    theirs = kl_divergence(Normal(mean, torch.nn.functional.softplus(rho)), Normal(0.0, 1 / math.sqrt(4))).sum()
    torch.testing.assert_close(divergence([(mean, rho, bias)]), theirs)


def test_weights_as_sure_as_the_prior_have_no_divergence():
    prior = 1 / math.sqrt(9)
    rho = torch.full((9, 2), math.log(math.expm1(prior)))
    assert float(divergence([(torch.zeros(9, 2), rho, torch.zeros(2))])) == pytest.approx(0, abs=1e-5)


def test_it_finds_the_noise_and_the_line():
    X, y = line()
    model = BayesianMLPRegressor(hidden=(16,), steps=1200, draws=50).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert model.noise_ == pytest.approx(0.5, rel=0.25)
    assert np.abs(mean - (10 + 3 * X[:, 0])).mean() < 0.25
    assert np.all(std >= model.noise_)


def test_it_is_less_sure_where_there_are_no_data():
    X, y = line()
    model = BayesianMLPRegressor(hidden=(16,), steps=600, draws=50).fit(X, y)
    spread = model.predict_draws(np.array([[0.0], [6.0]])).std(axis=0)
    assert spread[1] > 1.5 * spread[0]


def test_a_row_s_answer_does_not_depend_on_its_neighbours():
    X, y = line(60)
    model = BayesianMLPRegressor(hidden=(8,), steps=50, draws=5).fit(X, y)
    np.testing.assert_allclose(model.predict(X)[:7], model.predict(X[:7]), rtol=1e-12)
    assert np.array_equal(model.predict(X), model.predict(X)), "the draws are those of the fit"


@pytest.mark.parametrize(
    ("wrong", "says"), [({"draws": 1}, "draws must be at least 2"), ({"steps": 0}, "steps must be at least 1")]
)
def test_a_setting_out_of_range_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        BayesianMLPRegressor(**wrong).fit(*line(10))
