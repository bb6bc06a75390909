"""The experiment of mixing against merging, on a trainer whose results are known."""

import copy

import pytest
import torch
from tests.merging.families import random_model

from tameshi.merging import MixVsMerge
from tameshi.merging.mix_vs_merge import mixture

DIRECTIONS = {"general": 0, "safety": 1}


EXAMPLES = {"general": [("general", 1.0)] * 20, "safety": [("safety", 2.0)] * 20}


def train(base, examples):
    """Moves one entry of the final norm per objective, by its examples' part in the mean."""
    model = copy.deepcopy(base)
    with torch.no_grad():
        for name, amount in examples:
            model.model.norm.weight[DIRECTIONS[name]] += amount / len(examples)
    return model


def scorer(name):
    return lambda model, half: float(model.model.norm.weight[DIRECTIONS[name]].detach()) - 1


SCORES = {name: scorer(name) for name in DIRECTIONS}


def test_every_kind_is_trained_merged_and_scored():
    experiment = MixVsMerge(
        random_model(),
        EXAMPLES,
        methods=["linear", "slerp", "ties", "dare_ties"],
        settings={"ties": {"densities": 1.0}, "dare_ties": {"densities": 1.0}},
    )
    found = experiment.run(train, SCORES)
    scores = {(e.kind, e.setting): (e.test["general"], e.test["safety"]) for e in found.entries}
    assert scores["alone", "general"] == pytest.approx((1, 0))
    assert scores["alone", "safety"] == pytest.approx((0, 2))
    assert scores["mix", "0.15"] == pytest.approx((0.85, 0.3))
    assert scores["linear", "0.3/0.7"] == pytest.approx((0.3, 1.4))
    assert scores["ties", "1/1"] == pytest.approx((1, 2))
    assert sum(found.best("ties").test.values()) == pytest.approx(3)
    assert {"ties", "dare_ties"} <= {e.kind for e in found.pareto()}
    table = found.table()
    assert "mix 0.15" in table
    assert "general" in table.splitlines()[0]


def test_settings_are_chosen_on_the_validation_half():
    def turned(model, half):
        value = SCORES["general"](model, "test")
        return value if half == "test" else -value

    experiment = MixVsMerge(random_model(), EXAMPLES, methods=["linear"])
    found = experiment.run(train, {"general": turned, "safety": lambda model, half: 0.0})
    assert found.best("linear").setting == "0/1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": {"one": 1}}, "two objectives are the least"),
        ({"mix": [1.5]}, "between 0 and 1"),
        ({"mix": 0.0}, "between 0 and 1, got 0"),
        ({"methods": ["tie"]}, "there is no merge method"),
        ({"objectives": {"a": 1, "b": 2, "c": 3}}, "SLERP merges exactly 2"),
    ],
)
def test_a_wrong_experiment_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MixVsMerge(**{"base": None, "objectives": {"a": 1, "b": 2}} | settings)


def test_a_kind_that_was_not_run_is_refused():
    found = MixVsMerge(random_model(), EXAMPLES, methods=["linear"]).run(train, SCORES)
    with pytest.raises(ValueError, match="there is no 'ties' among alone, linear, mix"):
        found.best("ties")


def test_a_mixture_holds_the_shares_in_a_drawn_order_and_nothing_twice():
    objectives = {"general": [f"g{i}" for i in range(100)], "safety": [f"s{i}" for i in range(30)]}
    found = mixture(objectives, {"general": 0.85, "safety": 0.15}, seed=1)
    assert len(found) == len(set(found)) == 100
    assert sum(example.startswith("s") for example in found) == 15
    assert found != sorted(found)
    assert found == mixture(objectives, {"general": 0.85, "safety": 0.15}, seed=1)
    assert found != mixture(objectives, {"general": 0.85, "safety": 0.15}, seed=2)


def test_a_mixture_is_shorter_where_an_objective_has_too_few():
    objectives = {"general": list(range(100)), "safety": list(range(100, 106))}
    found = mixture(objectives, {"general": 0.7, "safety": 0.3})
    assert len(found) == 20
    assert sum(example >= 100 for example in found) == 6


def test_an_experiment_without_scorers_is_refused():
    with pytest.raises(ValueError, match="scores must name at least one objective"):
        MixVsMerge(random_model(), EXAMPLES).run(train)
