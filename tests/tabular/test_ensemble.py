import math

import numpy as np
import pytest
import torch
from torch import nn

from tameshi.tabular.descent import Batches
from tameshi.tabular.ensemble import DeepEnsembleRegressor, train


def wave(rows: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(rows, 2))
    return X, 100 + 20 * np.sin(X[:, 0]) + 5 * X[:, 1]


QUICK = {"steps": 150, "hidden": (16, 16), "batch_size": None}


@pytest.mark.parametrize("batch_size", [None, 32])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_batched_member_is_what_it_would_be_alone(batch_size, outputs):
    X, y = wave()
    rows, target = torch.from_numpy(X.astype(np.float32)), torch.from_numpy((y / 100).astype(np.float32))
    settings = {
        "widths": [2, 16, outputs], "steps": 60, "learning_rate": 3e-3, "weight_decay": 1e-5, "batch_size": batch_size,
    }  # fmt: skip
    together, losses = train([11, 12, 13], rows, target, **settings)
    for member, seed in enumerate([11, 12, 13]):
        alone, loss = train([seed], rows, target, **settings)
        assert loss[0] == pytest.approx(losses[member], rel=1e-4)
        for (w, b), (w1, b1) in zip(together, alone, strict=True):
            torch.testing.assert_close(w[member], w1[0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(b[member], b1[0], rtol=1e-3, atol=1e-4)


def test_a_member_is_the_torch_network_with_the_same_weights_and_optimiser():
    """An independent implementation: nn.Sequential, torch's plain Adam, one network."""
    X, y = wave()
    rows, target = torch.from_numpy(X.astype(np.float32)), torch.from_numpy((y / 100).astype(np.float32))
    made, _ = train([5], rows, target, widths=[2, 8, 1], steps=1, learning_rate=0.0, weight_decay=0.0, batch_size=None)
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    with torch.no_grad():
        for layer, (weight, bias) in zip([network[0], network[2]], made, strict=True):
            layer.weight.copy_(weight[0].T)
            layer.bias.copy_(bias[0, 0])
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3, weight_decay=1e-5, foreach=False)
    for step in range(40):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 + math.cos(math.pi * step / 40)) / 2
        loss = nn.functional.mse_loss(network(rows)[:, 0], target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    ours, _ = train(
        [5], rows, target, widths=[2, 8, 1], steps=40, learning_rate=3e-3, weight_decay=1e-5, batch_size=None
    )
    torch.testing.assert_close(ours[0][0][0], network[0].weight.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[1][1][0, 0], network[2].bias, rtol=1e-4, atol=1e-5)


def test_mean_and_spread_are_those_of_the_members():
    X, y = wave()
    model = DeepEnsembleRegressor(4, **QUICK).fit(X, y)
    each, noise = model.predict_members(X)
    mean, std = model.predict(X, return_std=True)
    assert each.shape == (4, 120)
    assert not noise.any()
    np.testing.assert_allclose(mean, each.mean(axis=0))
    np.testing.assert_allclose(std, each.std(axis=0, ddof=1))
    order = [2, 0, 3, 1]
    model.weights_ = [w[order] for w in model.weights_]
    model.biases_ = [b[order] for b in model.biases_]
    again, spread = model.predict(X, return_std=True)
    np.testing.assert_allclose(again, mean)
    np.testing.assert_allclose(spread, std)


def test_a_heteroscedastic_ensemble_finds_where_the_noise_is():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(400, 1))
    deviation = np.where(x[:, 0] < 0, 0.1, 1.0)
    y = 3 * x[:, 0] + deviation * rng.standard_normal(400)
    model = DeepEnsembleRegressor(3, steps=600, hidden=(16,), heteroscedastic=True).fit(x, y)
    _, std = model.predict(np.array([[-0.5], [0.5]]), return_std=True)
    assert std[0] == pytest.approx(0.1, rel=0.6)
    assert std[1] == pytest.approx(1.0, rel=0.4)


@pytest.mark.parametrize("start", ["uniform", "normal"])
def test_the_same_seed_gives_the_same_model(start):
    X, y = wave()
    first = DeepEnsembleRegressor(2, start=start, random_state=3, **QUICK).fit(X, y).predict(X)
    again = DeepEnsembleRegressor(2, start=start, random_state=3, **QUICK).fit(X, y).predict(X)
    other = DeepEnsembleRegressor(2, start=start, random_state=4, **QUICK).fit(X, y).predict(X)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_row_is_seen_once_an_epoch():
    batches = Batches([torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)], 12, 4)
    epoch = torch.cat([batches.next() for _ in range(3)], dim=1)
    assert epoch.sort(dim=1).values.tolist() == [list(range(12))] * 2
    assert epoch[0].tolist() != epoch[1].tolist(), "each member has an order of its own"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"members": 1}, "one network has no spread, got 1"),
        ({"hidden": ()}, "at least one layer"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"start": "zero"}, "start must be one of uniform, normal"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        DeepEnsembleRegressor(**wrong).fit(*wave(10))
