"""The check of graph-adversarial holds on working agents, and fails on broken ones."""

import json

import numpy as np
import pytest
import torch

import tameshi.graphs.linear_network as linear_network
from tameshi.bench import run_check
from tameshi.bench.shelf import stand
from tameshi.checks.graph_adversarial import train_network
from tameshi.graphs import DecentralizedTrainer

torch.set_num_threads(1)
QUICK = {"only": "robustness", "seeds": 6, "iterations": 1000}
SMOOTH = {"only": "convergence", "seeds": 4, "watched": 2000}


@pytest.fixture(scope="module")
def working(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAMESHI_HOME", str(tmp_path_factory.mktemp("home")))
        yield {
            "robustness": run_check("graph-adversarial", **{**QUICK, "seeds": 3, "iterations": 3000}),
            "convergence": run_check("graph-adversarial", **SMOOTH),
        }


def accuracy(result, method, strength):
    return result.rows.where(method=method, strength=strength).mean("robust_accuracy")


def test_agents_gain_from_each_other_and_from_attacks(working):
    result = working["robustness"]
    assert not result.errors
    assert accuracy(result, "diffusion", 0.6) > accuracy(result, "clean", 0.6) + 0.02
    assert accuracy(result, "diffusion", 0.6) > accuracy(result, "non-cooperative", 0.6) + 0.05
    assert accuracy(result, "diffusion", 0.6) == pytest.approx(accuracy(result, "central", 0.6), abs=0.01)
    assert result.verdicts["C4"].outcome == "out of reach here"


def test_slopes_are_those_of_the_theory(working):
    rows = working["convergence"].rows
    assert 0.8 < rows.where(method="diffusion").mean("deviation_slope") < 1.6
    assert 1.6 < rows.where(method="diffusion").mean("disagreement_slope") < 2.2
    for step in rows.levels("step"):
        consensus = rows.where(method="consensus", step=step).mean("deviation")
        assert rows.where(method="diffusion", step=step).mean("deviation") < consensus


def test_attacks_that_help_fail(monkeypatch):
    original = linear_network.perturbed

    def kind(models, inputs, *rest):
        return 2 * inputs - original(models, inputs, *rest)

    monkeypatch.setattr(linear_network, "perturbed", kind)
    assert run_check("graph-adversarial", **QUICK).verdicts["C1"].outcome == "fails"


def test_agents_that_do_not_listen_fail(monkeypatch):
    def deaf(models, gradients, combination, step, strategy):
        return models - step * gradients

    monkeypatch.setattr(linear_network, "combine", deaf)
    assert run_check("graph-adversarial", **QUICK).verdicts["C2"].outcome == "fails"


def test_noise_that_does_not_shrink_with_the_step_fails(monkeypatch):
    original = linear_network.combine
    rng = np.random.default_rng(0)

    def shaken(models, *rest):
        return original(models, *rest) + 0.05 * rng.normal(size=models.shape)

    monkeypatch.setattr(linear_network, "combine", shaken)
    assert run_check("graph-adversarial", **SMOOTH).verdicts["C3"].outcome == "fails"


DEEP = {
    "only": "robustness",
    "deep": True,
    "count": 4,
    "epochs": 20,
    "strengths": (0.3,),
    "iterations": 10,
    "limit": 60,
}


def test_networks_are_trained_only_when_asked(working, home):
    assert "diffusion-network" not in working["robustness"].rows.methods
    found = run_check("graph-adversarial", seeds=1, **DEEP)
    assert not found.errors
    assert {"central-network", "diffusion-network"} <= set(found.rows.methods)
    assert accuracy(found, "diffusion-network", 0.3) > 0.5
    assert found.verdicts["C4"].outcome != "out of reach here"


def test_networks_that_lose_what_they_learn_over_the_graph_fail(monkeypatch, home):
    original = DecentralizedTrainer.step

    def forgetful(self, batches):
        loss = original(self, batches)
        if self.strategy == "diffusion":
            for parameter in self.parameters.values():
                parameter.data.mul_(0.5)
        return loss

    monkeypatch.setattr(DecentralizedTrainer, "step", forgetful)
    assert run_check("graph-adversarial", seeds=3, **DEEP).verdicts["C4"].outcome == "fails"


def test_figures_are_drawn_from_the_rows(working):
    drawn = 0
    for figure in stand("graph-adversarial").figures:
        for result in working.values():
            drawn += figure.function(result.rows) is not None
    assert drawn == 2


def test_the_users_table_with_its_agents_is_checked(tmp_path, home):
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=120)
    inputs = rng.normal(size=(120, 3)) * 0.3 + (labels[:, None] - 0.5)
    np.savez(tmp_path / "t.npz", X=inputs, y=labels, site=np.arange(120) % 4)
    found = run_check(
        "graph-adversarial",
        only="robustness",
        seeds=1,
        data=str(tmp_path / "t.npz"),
        agents="site",
        train=80,
        iterations=200,
    )
    assert not found.errors
    assert accuracy(found, "diffusion", 0.0) > 0.8


def test_apply_writes_the_models(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=90)
    np.savez(tmp_path / "t.npz", X=rng.normal(size=(90, 3)) * 0.3 + (labels[:, None] - 0.5), y=labels)
    told = train_network.function(
        tmp_path / "t.npz", target="label", output=tmp_path / "m.json", iterations=200, count=5
    )
    kept = json.loads((tmp_path / "m.json").read_text())
    assert np.array(kept["agent_coef"]).shape == (5, 3)
    assert np.array(kept["combination"]).sum(axis=0) == pytest.approx(np.ones(5))
    assert "5 agents" in told
    with pytest.raises(ValueError, match="eps must be"):
        train_network.function(tmp_path / "t.npz", target="label", output=tmp_path / "n.json", eps=-1.0)
    with pytest.raises(ValueError, match="has 90 rows, too few for 91 agents"):
        train_network.function(tmp_path / "t.npz", target="label", output=tmp_path / "n.json", count=91)
    assert not (tmp_path / "n.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strengths": (0.3, -1.0)}, "--strengths must be at least 0, got -1"),
        ({"strengths": ()}, "--strengths needs at least one number"),
        ({"count": 0}, "--count must be at least 1, got 0"),
        ({"iterations": 0}, "--iterations must be at least 1"),
        ({"step": 0.0}, "--step must be above 0"),
        ({"steps": (0.01, 0.0)}, "--steps must be above 0"),
        ({"epochs": 0, "deep": True}, "--epochs must be at least 1"),
        ({"pairs": ("3",)}, "written like 3-8, got '3'"),
        ({"pairs": ("3-x",)}, "no example of class 'x'"),
        ({"agents": "site"}, "no column 'site' .* name one with --agents"),
        ({"target": "y"}, r"no column 'y' \(it has pixels, label\)"),
    ],
)
def test_options_with_which_nothing_can_be_measured_are_refused_before_anything_runs(options, message, home):
    with pytest.raises(ValueError, match=message):
        run_check("graph-adversarial", seeds=1, **options)
