"""Recipes in YAML: ours, and mergekit's where they mean the same."""

import pytest
import torch
import yaml

from tameshi.merging import LATA, InstructionResidual, merge
from tameshi.merging.recipes import read_recipe


def same(one, two):
    first, second = one.state_dict(), two.state_dict()
    return all(torch.allclose(first[n], second[n], atol=1e-6) for n in first)


def write(tmp_path, told):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(told))
    return file


def test_a_lata_recipe(family, tmp_path):
    paths = {n: str(p) for n, p in family.items()}
    experts = {n: {"path": paths[n], "scale": 0.7} for n in ("math", "code")}
    told = {"method": "lata", "pre": paths["base"], "inst": paths["instruct"], "rule": "log", "experts": experts}
    expected = LATA("log").merge(family["base"], family["instruct"], {n: family[n] for n in experts}, 0.7)
    assert same(read_recipe(write(tmp_path, told)).merged(), expected)


def test_a_recipe_that_forgets(family):
    paths = {n: str(p) for n, p in family.items()}
    told = {"method": "lata", "pre": paths["base"], "inst": paths["instruct"], "target": paths["code"]}
    told["forget"] = {"math": {"path": paths["math"], "scale": 0.5}}
    expected = LATA().forget(family["code"], family["base"], family["instruct"], family["math"], 0.5)
    assert same(read_recipe(told).merged(), expected)
    assert set(read_recipe(told | {"dtype": "bfloat16"}).merged().dtypes.values()) == {torch.bfloat16}


def test_a_residual_recipe(family):
    told = {"method": "instruction-residual", "base": family["base"], "instruct": family["instruct"]}
    told |= {"target": family["math"], "scale": 0.5}
    expected = InstructionResidual.extract(family["base"], family["instruct"]).apply(family["math"], 0.5)
    assert same(read_recipe(told).merged(), expected)


def test_a_recipe_of_any_method(family, tmp_path):
    models = {"math": {"path": str(family["math"]), "weights": 0.3, "densities": 0.4}}
    models["code"] = {"path": str(family["code"]), "densities": 1.0}
    told = {"method": "ties", "base": str(family["base"]), "models": models, "scale": 0.9, "weights": 1.0}
    expected = merge(
        {n: family[n] for n in models}, method="ties", base=family["base"], scale=0.9,
        weights=[0.3, 1.0], densities=[0.4, 1.0],
    )  # fmt: skip
    found = read_recipe(write(tmp_path, told)).merged()
    assert found.recipe.method == "ties"
    assert same(found, expected)


# --- mergekit's -----------------------------------------------------------------------------------------------------


def kit(family, method, parameters, per_model, **more):
    models = [{"model": str(family[n]), "parameters": dict(per_model)} for n in ("math", "code")]
    return {
        "merge_method": method,
        "base_model": str(family["base"]),
        "models": models,
        "parameters": parameters,
    } | more


@pytest.mark.parametrize(
    ("method", "parameters", "per_model", "ours", "settings"),
    [
        ("linear", {}, {"weight": 0.5}, "linear", {"weights": 0.5}),
        ("linear", {"normalize": False}, {"weight": 0.5}, "linear", {"weights": 0.5, "normalize": False}),
        ("task_arithmetic", {"lambda": 0.5}, {"weight": 0.4}, "task-arithmetic", {"weights": 0.4, "scale": 0.5}),
        ("ties", {}, {"weight": 1, "density": 0.3}, "ties", {"weights": 1, "densities": 0.3}),
        ("ties", {"density": 0.3, "weight": 1}, {}, "ties", {"weights": 1, "densities": 0.3}),
        ("dare_linear", {}, {"weight": 1, "density": 0.3}, "dare", {"weights": 1, "densities": 0.3, "rescale": "l1"}),
        ("task_arithmetic", {}, {"weight": [0, 1]}, "task-arithmetic", {"weights": [[0, 1], [0, 1]]}),
    ],
)
def test_mergekits_options_mean_ours(method, parameters, per_model, ours, settings, family):
    base = {} if ours == "linear" else {"base": family["base"]}
    names = {"model0": family["math"], "model1": family["code"]}
    expected = merge(names, method=ours, **base, **settings)
    assert same(read_recipe(kit(family, method, parameters, per_model)).merged(), expected)


def test_mergekits_slerp_starts_at_the_base(family):
    told = {"merge_method": "slerp", "base_model": str(family["base"]), "models": [{"model": str(family["math"])}]}
    told["parameters"] = {"t": [{"filter": "self_attn", "value": [0, 0.5]}, {"value": 0.3}]}
    expected = merge({"model0": family["base"], "model1": family["math"]}, method="slerp", t=told["parameters"]["t"])
    recipe = read_recipe(told)
    assert same(recipe.merged(), expected)


def test_mergekits_nuslerp_goes_as_far_as_its_weights_say(family):
    told = kit(family, "nuslerp", {}, {"weight": 1})
    told["models"][1]["parameters"] = {"weight": 3}
    pair = {"model0": family["math"], "model1": family["code"]}
    assert same(read_recipe(told).merged(), merge(pair, method="slerp-delta", base=family["base"], t=0.75))
    del told["models"][1]["parameters"]
    with pytest.raises(ValueError, match="nuslerp takes two models and a weight of at least 0 for each"):
        read_recipe(told)


@pytest.mark.parametrize(
    "told",
    [
        {"method": "linear", "weights": [0.2, 0.6]},
        {"method": "linear", "weights": {"m": 0.25, "c": 0.75}, "normalize": False, "dtype": "bfloat16"},
        {"method": "task-arithmetic", "weights": 0.4, "scale": 0.5},
        {"method": "ties", "weights": 0.7, "densities": {"m": 0.3, "c": 0.6}, "scale": 0.9, "normalize": False},
        {"method": "dare_ties", "rescale": "l1", "seed": 0, "densities": 1.0},
        {"method": "dare", "rescale": "none", "weights": 0.5, "densities": 1.0},
        {"method": "slerp", "t": [0, 0.5, 1]},
    ],
)
def test_a_recipe_written_for_mergekit_reads_back_as_the_same_merge(told, family):
    base = {} if told["method"] in ("linear", "slerp") else {"base": str(family["base"])}
    models = {"m": str(family["math"]), "c": {"path": str(family["code"])}}
    recipe = read_recipe({**told, **base, "models": models})
    written = yaml.safe_load(yaml.safe_dump(recipe.as_mergekit()))
    assert same(read_recipe(written).merged(), recipe.merged())


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"method": "lata"}, "lata is not written as a recipe of mergekit; written are dare, dare-ties, linear, slerp"),
        ({"method": "dare", "base": "b", "models": {"m": "x"}}, "mergekit does not divide by the density"),
    ],
)
def test_what_mergekit_would_mean_otherwise_is_not_written(told, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(told).as_mergekit()


def test_the_dtypes_of_mergekit_become_one_rounding(family):
    recipe = read_recipe(kit(family, "linear", {}, {"weight": 1}, dtype="bfloat16"))
    assert set(recipe.merged().dtypes.values()) == {torch.bfloat16}
    assert any("one rounding to bfloat16" in note for note in recipe.notes)


def test_what_differs_from_mergekit_is_said(family):
    notes = read_recipe(kit(family, "dare_ties", {}, {"weight": 1, "density": 0.5})).notes
    assert any("global random state" in note for note in notes)
    assert any("trimmed per tensor" in n for n in read_recipe(kit(family, "ties", {}, {"weight": 1})).notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merge_method": "della"}, "mergekit's della is not known here"),
        ({"slices": []}, "recipes with slices"),
        ({"parameters": {"rescale": True}}, "rescale: true of mergekit's ties is not merged"),
        ({"parameters": {"gamma": 0.1}}, "the parameter 'gamma'"),
        ({"tokenizer_source": "union"}, "tokenizers are not united"),
        ({"tokenizer_source": "elsewhere"}, "is none of the models"),
        ({"chat_template": "chatml"}, "chat template is that of the model"),
        ({"unknown": 1}, "has no key 'unknown'"),
    ],
)
def test_what_mergekit_means_otherwise_is_refused(change, message, family):
    with pytest.raises(ValueError, match=message):
        read_recipe(kit(family, "ties", {}, {"weight": 1}) | change)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"pre": "x"}, "needs a key method"),
        ({"method": "sum"}, "there is no merge method"),
        ({"method": "lata", "pre": "x", "inst": "y"}, "lacks the key experts"),
        ({"method": "lata", "rules": "x"}, "has no key 'rules'"),
        ({"method": "linear"}, "lacks the key models"),
        ({"method": "linear", "models": ["a"]}, "models must be NAME: path"),
        ({"method": "linear", "models": {"a": {"weights": 1}}}, "a needs a path"),
        ({"method": "linear", "models": {"a": {"path": "p", "wieght": 1}}}, "unknown key 'wieght'"),
    ],
)
def test_a_wrong_recipe_is_refused(told, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(told).merged()


@pytest.mark.parametrize(
    ("content", "message"), [("a: [", "is not YAML"), ("- a", "keys and values"), ("!!python/object:x {}", "not YAML")]
)
def test_a_file_that_is_no_recipe_is_refused(content, message, tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_recipe(file)


def test_a_recipe_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_recipe(tmp_path / "r.yaml")
