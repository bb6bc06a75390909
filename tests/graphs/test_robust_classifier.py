import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs
from sklearn.utils.estimator_checks import check_estimator

from tameshi.graphs import RobustNetworkClassifier, robust_accuracy
from tameshi.graphs.robust_classifier import robust_correct


@pytest.fixture(scope="module")
def digits():
    digits = load_digits()
    kept = np.isin(digits.target, [3, 8])
    inputs = digits.data[kept] / 16
    return inputs - inputs.mean(axis=0), digits.target[kept]


def test_cooperation_and_adversarial_training_help_on_digits(digits):
    inputs, labels = digits
    eps = np.random.default_rng(0).uniform(0.2, 1.0, 20)
    found = {}
    for name, settings in {
        "diffusion": {},
        "alone": {"strategy": "none"},
        "clean": {"eps": 0.0},
    }.items():
        classifier = RobustNetworkClassifier(**{"eps": eps, "fit_intercept": False, **settings})
        classifier.fit(inputs[:240], labels[:240])
        found[name] = robust_accuracy(classifier, inputs[240:], labels[240:], [0.0, 0.6])
    assert found["diffusion"][0.6]["agents"] > found["clean"][0.6]["agents"] + 0.02
    assert found["diffusion"][0.6]["agents"] > found["alone"][0.6]["agents"] + 0.02
    assert found["clean"][0.0]["agents"] > 0.9


def test_robust_accuracy_gives_agents_and_their_mean(digits):
    inputs, labels = digits
    classifier = RobustNetworkClassifier(strategy="none", iterations=200).fit(inputs[:240], labels[:240])
    found = robust_accuracy(classifier, inputs, labels, 0.3)[0.3]
    assert found["agents"] == robust_correct(classifier, inputs, labels, 0.3).mean()
    assert found["mean_model"] != found["agents"]
    assert classifier.agent_scores(inputs, labels).shape == (20,)
    assert classifier.score(inputs, labels) > 0.9


def test_users_agents_and_graph_are_used():
    inputs, labels = make_blobs(60, centers=2, random_state=0)
    owners = np.repeat([0, 1, 2], 20)
    classifier = RobustNetworkClassifier(graph=[(0, 1), (1, 2)], combine="averaging", iterations=50)
    classifier.fit(inputs, labels, agents=owners)
    assert classifier.pi_ == pytest.approx([2 / 7, 3 / 7, 2 / 7])
    assert (classifier.agents_ == owners).all()
    assert classifier.coef_[0] == pytest.approx(classifier.pi_ @ classifier.agent_coef_)


CHECKS = 56  # that scikit-learn 1.9.1 runs for a binary classifier


def test_it_is_a_scikit_learn_classifier():
    results = check_estimator(RobustNetworkClassifier(iterations=300), on_skip=None, on_fail="raise")
    assert {r["check_name"] for r in results if r["status"] != "passed"} <= {
        "check_array_api_input"
    }  # needs array-api-compat
    assert len(results) == CHECKS


@pytest.mark.parametrize(
    ("settings", "agents", "message"),
    [
        ({"eps": [0.1, 0.2]}, None, r"one number or one per agent \(20\)"),
        ({"eps": -0.1}, None, "eps must be finite and at least 0"),
        ({"norm": 3}, None, "norm must be 1, 2 or inf"),
        ({"strategy": "gossip"}, None, "strategy must be one of"),
        ({"loss": "squared"}, None, "loss must be one of"),
        ({"step": 0.0}, None, "step must be above 0"),
        ({"graph": "ring"}, None, 'graph must be "erdos_renyi"'),
        ({"graph": [(0, 1)]}, np.arange(60) % 3, "the graph has 2 agents, but the data belong to 3"),
        ({}, np.where(np.arange(60) == 0, 2, 0), "agent 1 has no data"),
        ({}, np.zeros(3, int), "one per row"),
        ({}, np.full(60, -1), "numbered from 0"),
        ({"target_weights": np.ones(20)}, None, "sum to 1"),
        ({"graph": [(0, 1), (2, 3)]}, None, "falls into 2 parts"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, agents, message):
    inputs, labels = make_blobs(60, centers=2, random_state=0)
    with pytest.raises(ValueError, match=message):
        RobustNetworkClassifier(**settings).fit(inputs, labels, agents=agents)


def test_one_class_and_foreign_labels_are_refused():
    inputs, labels = make_blobs(60, centers=2, random_state=0)
    with pytest.raises(ValueError, match="1 class"):
        RobustNetworkClassifier().fit(inputs, np.zeros(60))
    classifier = RobustNetworkClassifier(iterations=10).fit(inputs, labels)
    with pytest.raises(ValueError, match="none of the classes"):
        robust_accuracy(classifier, inputs, labels + 5)


def test_divergence_is_told_with_a_remedy():
    inputs, labels = make_blobs(60, centers=2, random_state=0)
    with pytest.raises(FloatingPointError, match="try a step of 5"):
        RobustNetworkClassifier(step=50.0, ridge=1.0, strategy="consensus").fit(inputs, labels)


def test_a_strength_that_cannot_be_is_refused_when_testing():
    inputs, labels = make_blobs(60, centers=2, random_state=0)
    classifier = RobustNetworkClassifier(iterations=10).fit(inputs, labels)
    for wrong in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="must be finite and at least 0, got"):
            robust_accuracy(classifier, inputs, labels, [0.1, wrong])


def test_wanted_weights_of_the_agents_replace_those_of_the_graph():
    """Two agents with opposite data: who weighs more decides, whatever the Perron vector says."""
    inputs, labels = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([1, 0, 0, 1])
    settings = {"graph": [(0, 1)], "combine": np.array([[0.8, 0.5], [0.2, 0.5]]), "eps": 0.0, "fit_intercept": False}
    owners = np.array([0, 0, 1, 1])
    plain = RobustNetworkClassifier(**settings).fit(inputs, labels, agents=owners)
    turned = RobustNetworkClassifier(target_weights=[0.2, 0.8], **settings).fit(inputs, labels, agents=owners)
    assert plain.pi_ == pytest.approx([5 / 7, 2 / 7])
    assert plain.coef_[0, 0] > 0.2
    assert turned.coef_[0, 0] < -0.2
