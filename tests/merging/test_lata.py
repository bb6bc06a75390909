"""LATA: the ranks and weights by hand, identities with task arithmetic, forgetting."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.merging.families import random_model, relative

from tameshi.merging import LATA, merge
from tameshi.merging.lata import layer_weights
from tameshi.merging.layers import depth, gradient, layer_of, layers, resolve

PRE = {f"model.layers.{i}.w": torch.zeros(1, 2) for i in range(4)}


def state(*vectors):
    return {f"model.layers.{i}.w": torch.tensor([v], dtype=torch.float32) for i, v in enumerate(vectors)}


INST = state((1, 0), (1, 1), (0, 2), (1, -1))
EXPERT = state((2, 0), (1, 0), (1, 1), (1, 1))
quick = settings(max_examples=40, deadline=None, derandomize=True)


def test_similarities_by_hand():
    found = LATA().similarity(PRE, INST, EXPERT)
    assert list(found) == [f"model.layers.{i}" for i in range(4)]
    assert list(found.values()) == pytest.approx([1, 0.7071, 0.7071, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("linear", [0, 1 / 3, 2 / 3, 1]), ("log", [0, 0.5, 0.7925, 1]), ("threshold", [0, 1, 1, 1])],
)
def test_weights_by_hand(rule, expected):
    lata = LATA(rule)
    assert list(lata.weights(lata.similarity(PRE, INST, EXPERT)).values()) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("rule", ["linear", "log"])
def test_a_single_layer_is_kept_whole(rule):
    assert layer_weights([0.9], rule) == [1.0]
    one, pre = {"w": torch.tensor([[1.0, 3.0]])}, {"w": torch.zeros(1, 2)}
    merged = LATA(rule).merge(pre, {"w": torch.tensor([[1.0, 0.0]])}, {"t": one}, 0.5).state_dict()
    assert torch.equal(merged["w"], torch.tensor([[0.5, 1.5]]))


def test_an_expert_that_is_the_instruct_model_is_dropped_whole_by_the_threshold():
    base = random_model()
    inst = relative(base, 1)
    lata = LATA("threshold")
    assert list(lata.similarity(base, inst, inst).values()) == pytest.approx([1.0] * 6)
    merged = lata.merge(base, inst, {"t": inst}).state_dict()
    assert all(torch.equal(merged[n], p) for n, p in base.state_dict().items())


def test_weights_of_one_are_task_arithmetic_bit_by_bit():
    base = random_model()
    inst, one, two = (relative(base, i) for i in (1, 2, 3))
    lata = LATA("threshold", threshold=1.0)  # every layer of independent steps lies below
    found = lata.merge(base, inst, {"one": one, "two": two}, {"one": 0.5, "two": 0.3}).state_dict()
    plain = merge({"one": one, "two": two}, method="task-arithmetic", base=base, weights=[0.5, 0.3]).state_dict()
    assert all(torch.equal(found[n], plain[n]) for n in plain)


def test_a_scale_of_zero_is_the_base():
    base = random_model()
    found = LATA().merge(base, relative(base, 1), {"t": relative(base, 2)}, 0.0).state_dict()
    assert all(torch.equal(found[n], p) for n, p in base.state_dict().items())


@quick
@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=12, unique=True), st.sampled_from(["linear", "log"]), st.randoms()
)
def test_permuting_the_layers_permutes_the_weights(similarities, rule, random):
    order = list(range(len(similarities)))
    random.shuffle(order)
    weights = layer_weights(similarities, rule)
    assert layer_weights([similarities[i] for i in order], rule) == [weights[i] for i in order]


@quick
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.sampled_from(["linear", "log"]))
def test_weights_lie_between_zero_and_one_and_fall_with_similarity(similarities, rule):
    weights = layer_weights(similarities, rule)
    assert all(0 <= w <= 1 for w in weights)
    assert all(
        weights[i] <= weights[j] for i, a in enumerate(similarities) for j, b in enumerate(similarities) if a > b
    )


def test_equal_similarities_count_the_lower_layer_as_more_similar():
    assert layer_weights([0.5, 0.5, 0.5], "linear") == [0, 0.5, 1]


@quick
@given(st.floats(0.01, 100), st.integers(0, 10))
def test_only_the_direction_of_the_instruction_vector_matters(factor, seed):
    draw = torch.Generator().manual_seed(seed)
    expert, inst = ({f"model.layers.{i}.w": torch.randn(3, 2, generator=draw) for i in range(5)} for _ in range(2))
    pre = {n: torch.zeros(3, 2) for n in inst}
    first = LATA()._similarities(*_opened(pre, inst, expert))["expert"]
    scaled = LATA()._similarities(*_opened(pre, {n: factor * v for n, v in inst.items()}, expert))["expert"]
    turned = LATA()._similarities(*_opened(pre, {n: -factor * v for n, v in inst.items()}, expert))["expert"]
    assert list(scaled.values()) == pytest.approx(list(first.values()), abs=1e-6)
    ranks = LATA().weights(first)
    assert LATA().weights(turned) == pytest.approx({n: 1 - w for n, w in ranks.items()})


def _opened(pre, inst, expert):
    from tameshi.merging import weights_of

    return weights_of(pre), weights_of(inst), {"expert": weights_of(expert)}


def test_forgetting_what_was_learnt_gives_back_the_start():
    base = random_model()
    expert, target = (relative(base, i) for i in (2, 3))
    learnt = LATA(anchor="inst").merge(base, target, {"t": expert}, 0.7)
    back = LATA().forget(learnt.model(), base, target, expert, 0.7).state_dict()
    assert all(torch.allclose(back[n], p, atol=1e-6) for n, p in target.state_dict().items())


def test_the_recipe_on_the_card_of_what_forgot_makes_it_again(family):
    from tameshi.merging.recipes import read_recipe

    forgot = LATA().forget(family["code"], family["base"], family["instruct"], family["math"], 0.5, dtype="bfloat16")
    told = forgot.recipe.settings
    assert told["forget"]["expert"]["scale"] == 0.5
    entry = {key: value for key, value in told["forget"]["expert"].items() if key != "layers"}
    again = read_recipe({"method": "lata", **told, "forget": {"expert": entry}, "dtype": "bfloat16"}).merged()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in forgot.state_dict().items())
    assert set(forgot.dtypes.values()) == {torch.bfloat16}
    with pytest.raises(ValueError, match="forgetting starts from its target"):
        LATA(anchor="inst").forget(family["code"], family["base"], family["instruct"], family["math"])


def test_a_scale_below_zero_stands_on_the_card_as_it_was_given(family):
    told = LATA(anchor="inst").merge(family["base"], family["instruct"], {"math": family["math"]}, -0.5).recipe.settings
    assert told["experts"]["math"]["scale"] == -0.5


def test_an_expert_without_a_change_is_like_nothing_and_is_said_to_add_nothing():
    base = random_model()
    lata = LATA()
    assert set(lata.similarity(base, relative(base, 1), base).values()) == {0.0}
    assert "t has the weights of the base and adds nothing" in lata.merge(base, relative(base, 1), {"t": base}).notes


def test_extra_layers_can_be_kept_out_of_the_ranking():
    base = random_model()
    lata = LATA(rank_extra=False)
    weights = lata.weights(lata.similarity(base, relative(base, 1), relative(base, 2)))
    assert [weights[n] for n in ("model.embed_tokens", "model.norm", "lm_head")] == [1, 1, 1]
    assert sorted(weights[f"model.layers.{i}"] for i in range(3)) == [0, 0.5, 1]


@pytest.mark.parametrize(("granularity", "count"), [("block", 6), ("module", 15), ("tensor", 30)])
def test_granularity_says_how_many_layers_there_are(granularity, count):
    base = random_model()
    assert len(LATA(granularity=granularity).similarity(base, relative(base, 1), relative(base, 2))) == count


def test_experts_and_routers_belong_to_their_block():
    base = random_model("mixtral")
    found = LATA().similarity(base, relative(base, 1), relative(base, 2))
    assert [n for n in found if "layers" in n] == [f"model.layers.{i}" for i in range(3)]
    plan = LATA().merge(base, relative(base, 1), {"t": relative(base, 2)}).plan()
    assert "the experts and the router of a block share one weight" in plan


def test_the_card_shows_every_layer(family, tmp_path):
    experts = {n: family[n] for n in ("math", "code")}
    out = LATA("log").merge(family["base"], family["instruct"], experts).save_pretrained(tmp_path / "out")
    card = (out / "README.md").read_text()
    assert all(words in card for words in ("rule: log", "cosine:", "model.layers.2", "2502.20186"))
    assert (out / "chat_template.jinja").read_text() == (family["instruct"] / "chat_template.jinja").read_text()


def test_weights_as_a_mergekit_recipe_say_the_same(family):
    """The recipe read back by our own reader gives the same model; the benchmark runs it through mergekit itself."""
    from tameshi.merging.recipes import read_recipe

    lata = LATA()
    merged = lata.merge(family["base"], family["instruct"], {"math": family["math"]}, 0.8)
    kept = lata.weights(lata.similarity(family["base"], family["instruct"], family["math"]))
    scaled = {"math": {layer: 0.8 * w for layer, w in kept.items()}}
    told = lata.as_mergekit(scaled, str(family["base"]), {"math": str(family["math"])})
    found = read_recipe(told).merged().state_dict()
    assert all(torch.allclose(found[n], t, atol=1e-6) for n, t in merged.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "cubic"}, "rule must be"),
        ({"granularity": "head"}, "granularity must be"),
        ({"anchor": "x"}, "anchor must"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LATA(**settings)


def test_scales_for_other_experts_are_refused(family):
    with pytest.raises(ValueError, match="scales must be given for math, got code"):
        LATA().merge(family["base"], family["instruct"], {"math": family["math"]}, {"code": 1.0})


# --- layers and gradients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "block", "module"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "model.layers.3", "model.layers.3.self_attn"),
        ("model.layers.3.mlp.experts.0.w1.weight", "model.layers.3", "model.layers.3.mlp"),
        ("model.layers.12.input_layernorm.weight", "model.layers.12", "model.layers.12.input_layernorm"),
        ("model.embed_tokens.weight", "model.embed_tokens", "model.embed_tokens"),
        ("lm_head.weight", "lm_head", "lm_head"),
        ("h.7.attn.bias", "h.7", "h.7.attn"),
        ("3.bias", "3", "3"),
    ],
)
def test_the_layer_of_a_parameter(name, block, module):
    assert (layer_of(name), layer_of(name, "module"), layer_of(name, "tensor")) == (block, module, name)


def test_layers_come_in_the_order_of_depth():
    names = [
        "lm_head.weight",
        "model.norm.weight",
        "model.layers.10.a.w",
        "model.layers.2.a.w",
        "model.embed_tokens.weight",
    ]
    assert list(layers(names)) == ["model.embed_tokens", "model.layers.2", "model.layers.10", "model.norm", "lm_head"]


def test_a_gradient_by_hand():
    assert [gradient([0, 0.5, 1], i / 4) for i in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert [gradient([0.3, 0.3], i / 4) for i in range(5)] == pytest.approx([0.3] * 5)
    assert gradient([2.0], 0.7) == 2.0


def test_embeddings_come_first_and_the_head_last():
    assert [depth(n, 4) for n in ("model.embed_tokens.weight", "model.layers.1.w.x", "lm_head.weight")] == [0, 1 / 3, 1]
    assert depth("model.layers.0.w.x", 1) == 0


def test_an_empty_gradient_is_refused():
    with pytest.raises(ValueError, match="at least one number"):
        gradient([], 0.5)
    assert math.isclose(resolve([1, 3], "x", 0.5), 2)
