import numpy as np
import pytest
from scipy.optimize import minimize

from tameshi.graphs import perron, train_linear
from tameshi.graphs.linear_network import combine, disagreement, loss_slope, perturbed, sample_draws

W = np.array([[1.0, 2.0], [0.0, -1.0]])
X = np.array([[1.0, 0.0], [2.0, 1.0]])
Y = np.array([1.0, -1.0])
EPS = np.array([0.5, 0.2])
A = np.array([[0.75, 0.4], [0.25, 0.6]])


def gradients_of(weights, inputs, targets):
    scores = (inputs * weights).sum(axis=1)
    return loss_slope(scores, targets, "logistic")[:, None] * inputs


def test_the_worked_step():
    moved = perturbed(W, X, (X * W).sum(axis=1), Y, EPS, 2, "logistic")
    gradients = gradients_of(W, moved, Y)
    assert gradients == pytest.approx(np.array([[-0.41108024, 0.2367881], [0.62005104, 0.24802042]]), abs=1e-7)
    diffused = np.array([[0.76532974, 1.22604038], [0.37924015, 0.17564725]])
    agreed = np.array([[0.79110802, 1.22632119], [0.3379949, 0.17519796]])
    assert combine(W, gradients, A, 0.1, "diffusion") == pytest.approx(diffused, abs=1e-7)
    assert combine(W, gradients, A, 0.1, "consensus") == pytest.approx(agreed, abs=1e-7)


@pytest.mark.parametrize(("strategy", "expected"), [("diffusion", 0.76532974), ("consensus", 0.79110802)])
def test_training_takes_the_worked_step(strategy, expected):
    trained = train_linear(X, Y, np.array([[0, 1]]), A, strategy=strategy, eps=EPS, step=0.1, ridge=0.0, start=W)
    assert trained.weights[0, 0] == pytest.approx(expected, abs=1e-7)


@pytest.fixture(scope="module")
def stream():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(40, 3)), rng.choice([-1.0, 1.0], size=40)
    return inputs, targets, sample_draws(np.arange(40) % 4, 50, rng)


@pytest.mark.parametrize("strategy", ["diffusion", "consensus"])
def test_agents_that_listen_to_nobody_are_independent_learners_bit_for_bit(stream, strategy):
    inputs, targets, draws = stream
    alone = train_linear(inputs, targets, draws, np.eye(4), strategy="none", eps=np.full(4, 0.3)).weights
    assert (
        train_linear(inputs, targets, draws, np.eye(4), strategy=strategy, eps=np.full(4, 0.3)).weights == alone
    ).all()


def test_full_averaging_from_one_start_is_central_training(stream):
    inputs, targets, draws = stream
    everyone = np.full((4, 4), 0.25)
    together = train_linear(inputs, targets, draws, everyone, eps=np.full(4, 0.3)).weights
    quarter = np.full(4, 0.25)
    central = train_linear(
        inputs, targets, draws, np.eye(4), strategy="central", eps=np.full(4, 0.3), gradient_weights=quarter
    ).weights
    assert disagreement(together) < 1e-15
    assert together == pytest.approx(central, abs=1e-12)


def test_no_strength_is_clean_training(stream):
    inputs, targets, draws = stream
    found = train_linear(
        inputs, targets, draws, np.eye(4), strategy="none", eps=np.zeros(4), ridge=0.0, step=0.1
    ).weights
    by_hand = np.zeros((4, 3))
    for drawn in draws:
        by_hand -= 0.1 * gradients_of(by_hand, inputs[drawn], targets[drawn])
    assert found == pytest.approx(by_hand, abs=1e-14)


@pytest.mark.parametrize("loss", ["logistic", "hinge", "exponential", "squared"])
def test_slopes_are_derivatives_of_the_losses(loss):
    value = {
        "logistic": lambda s, t: np.log1p(np.exp(-t * s)),
        "hinge": lambda s, t: np.maximum(0, 1 - t * s),
        "exponential": lambda s, t: np.exp(-t * s),
        "squared": lambda s, t: (t - s) ** 2,
    }[loss]
    scores, targets = np.array([-1.3, 0.2, 2.0]), np.array([1.0, -1.0, 1.0])
    difference = (value(scores + 1e-6, targets) - value(scores - 1e-6, targets)) / 2e-6
    assert loss_slope(scores, targets, loss) == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize("eps", [0.0, 0.5])
def test_squares_are_trained_to_the_minimiser_of_their_worst_case(eps):
    """The worst error of norm ε is |r| + ε|w|; scipy minimises its mean square."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 2))
    targets = inputs @ np.array([1.0, -0.5]) + rng.normal(size=200)

    def worst(w):
        return ((np.abs(targets - inputs @ w) + eps * np.linalg.norm(w)) ** 2).mean()

    best = minimize(worst, np.array([0.5, 0.0])).x
    draws = sample_draws(np.arange(200) % 2, 20_000, rng)
    settings = {"eps": np.full(2, eps), "loss": "squared", "step": 1e-3, "ridge": 0.0, "watch": 1}
    trained = train_linear(inputs, targets, draws, np.full((2, 2), 0.5), **settings)
    assert np.mean([w[0] for w in trained.watched[5000:]], axis=0) == pytest.approx(best, abs=0.02)


def test_wanted_weights_reach_the_fixed_point_of_the_wanted_mean():
    """Two agents pull a least-squares model to 0 and 1; where it rests is the weight of the second."""
    inputs, targets = np.ones((2, 1)), np.array([0.0, 1.0])
    draws = np.tile([0, 1], (20_000, 1))
    combination = np.array([[0.8, 0.5], [0.2, 0.5]])
    weights = perron(combination)
    settings = {"eps": np.zeros(2), "loss": "squared", "step": 1e-3, "ridge": 0.0}
    plain = train_linear(inputs, targets, draws, combination, **settings).weights.mean()
    turned = train_linear(
        inputs, targets, draws, combination, gradient_weights=0.5 / weights, **settings
    ).weights.mean()
    assert plain == pytest.approx(weights[1], abs=5e-3)
    assert turned == pytest.approx(0.5, abs=5e-3)


def test_consensus_diverges_at_a_step_that_diffusion_still_bears():
    """Two agents, loss w², so that a step multiplies by 1 - 2μ: Aᵀ - 2μ leaves [-1, 1] before Aᵀ (1 - 2μ) does."""
    settings = {"eps": np.zeros(2), "loss": "squared", "step": 0.4, "ridge": 0.0, "start": np.array([[1.0], [0.0]])}
    one = (np.ones((2, 1)), np.zeros(2), np.tile([0, 1], (2000, 1)), np.array([[0.3, 0.7], [0.7, 0.3]]))
    assert abs(train_linear(*one, strategy="diffusion", **settings).weights).max() < 1e-12
    with pytest.raises(FloatingPointError, match=r"diverged with step 0\.4 \(consensus\); try a step of 0\.04"):
        train_linear(*one, strategy="consensus", **settings)
