"""The experiment of mixing against merging, on a trainer whose results are known."""

import copy

import pytest
import torch
from tests.merging.families import random_model

from tameshi.merging import MixVsMerge

DIRECTIONS = {"general": 0, "safety": 1}


def train(base, portions):
    """Moves one entry of the final norm per objective, by the share of its data."""
    model = copy.deepcopy(base)
    with torch.no_grad():
        for name, (data, share) in portions.items():
            model.model.norm.weight[DIRECTIONS[name]] += data * share
    return model


def scorer(name):
    return lambda model, half: float(model.model.norm.weight[DIRECTIONS[name]].detach()) - 1


SCORES = {name: scorer(name) for name in DIRECTIONS}


def test_every_kind_is_trained_merged_and_scored():
    experiment = MixVsMerge(
        random_model(),
        {"general": 1.0, "safety": 2.0},
        methods=["linear", "slerp", "ties"],
        settings={"ties": {"densities": 1.0}},
    )
    found = experiment.run(train, SCORES)
    scores = {(e.kind, e.setting): (e.test["general"], e.test["safety"]) for e in found.entries}
    assert scores["alone", "general"] == pytest.approx((1, 0))
    assert scores["alone", "safety"] == pytest.approx((0, 2))
    assert scores["mix", "0.15"] == pytest.approx((0.85, 0.3))
    assert scores["linear", "0.3/0.7"] == pytest.approx((0.3, 1.4))
    assert scores["ties", "1/1"] == pytest.approx((1, 2))
    assert sum(found.best("ties").test.values()) == pytest.approx(3)
    assert [e.kind for e in found.pareto()].count("ties") >= 1
    table = found.table()
    assert "mix 0.15" in table
    assert "general" in table.splitlines()[0]


def test_settings_are_chosen_on_the_validation_half():
    def turned(model, half):
        value = SCORES["general"](model, "test")
        return value if half == "test" else -value

    experiment = MixVsMerge(random_model(), {"general": 1.0, "safety": 2.0}, methods=["linear"])
    found = experiment.run(train, {"general": turned, "safety": lambda model, half: 0.0})
    assert found.best("linear").setting == "0/1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": {"one": 1}}, "two objectives are the least"),
        ({"mix": [1.5]}, "between 0 and 1"),
        ({"methods": ["tie"]}, "there is no merge method"),
        ({"objectives": {"a": 1, "b": 2, "c": 3}}, "SLERP merges exactly 2"),
    ],
)
def test_a_wrong_experiment_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MixVsMerge(**{"base": None, "objectives": {"a": 1, "b": 2}} | settings)


def test_a_kind_that_was_not_run_is_refused():
    found = MixVsMerge(random_model(), {"general": 1.0, "safety": 2.0}, methods=["linear"]).run(train, SCORES)
    with pytest.raises(ValueError, match="there is no 'ties' among alone, linear, mix"):
        found.best("ties")
