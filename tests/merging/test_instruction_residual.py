"""The instruction residual: exactness, identities, storage, diagnosis."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.merging.families import random_model, relative, save

from tameshi.merging import InstructionResidual, merge

quick = settings(max_examples=30, deadline=None, derandomize=True)


def test_the_worked_example():
    base, instruct, grown = ({"w": torch.tensor([v], dtype=torch.float32)} for v in ((1, 2), (1.5, 1), (2, 2)))
    residual = InstructionResidual.extract(base, instruct)
    assert residual.apply(grown).state_dict()["w"].tolist() == [[2.5, 1]]
    assert residual.apply(grown, 0.5).state_dict()["w"].tolist() == [[2.25, 1.5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_on_its_own_base_it_gives_the_instruct_model_bit_by_bit(dtype):
    base = random_model(dtype=dtype)
    instruct = relative(base, 1)
    found = InstructionResidual.extract(base, instruct).apply(base).state_dict()
    assert all(torch.equal(found[n], p) for n, p in instruct.state_dict().items())


def test_a_saved_residual_gives_a_bfloat16_model_back_up_to_one_step_in_a_thousand(tmp_path):
    base = random_model(dtype=torch.bfloat16)
    instruct = relative(base, 1)
    InstructionResidual.extract(base, instruct).save(tmp_path / "r")
    found = InstructionResidual.load(tmp_path / "r").apply(base).state_dict()
    same = total = 0
    for name, p in instruct.state_dict().items():
        same += int((found[name] == p).sum())
        total += p.numel()
        assert torch.allclose(found[name].float(), p.float(), rtol=2**-7, atol=1e-7)
    assert same / total >= 0.999


@quick
@given(st.integers(0, 20), st.floats(-3, 3))
def test_a_saved_float32_residual_is_within_a_rounding_of_the_larger_number(seed, power):
    draw = torch.Generator().manual_seed(seed)
    base, instruct = torch.randn(64, generator=draw), torch.randn(64, generator=draw) * 10**power
    back = base + (instruct - base)
    assert ((back - instruct).abs() <= 2.0**-23 * torch.maximum(base.abs(), instruct.abs())).all()


def test_a_scale_of_zero_changes_nothing():
    base = random_model()
    grown = relative(base, 2)
    found = InstructionResidual.extract(base, relative(base, 1)).apply(grown, 0.0).state_dict()
    assert all(torch.equal(found[n], p) for n, p in grown.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*added twice")
@quick
@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 9))
def test_scales_add_up_and_the_step_is_linear(one, two, seed):
    draw = torch.Generator().manual_seed(seed)
    base, instruct, grown = ({"w": torch.randn(5, 7, generator=draw)} for _ in range(3))
    instruct["w"], grown["w"] = base["w"] + 0.1 * instruct["w"], base["w"] + 0.1 * grown["w"]
    residual = InstructionResidual.extract(base, instruct)
    twice = residual.apply(residual.apply(grown, one).state_dict(), two).state_dict()["w"]
    once = residual.apply(grown, one + two).state_dict()["w"]
    assert torch.allclose(twice, once, atol=2e-6)
    assert torch.allclose(once - grown["w"], (one + two) * (instruct["w"] - base["w"]), atol=2e-6)


def test_the_residual_of_a_model_with_itself_is_zero(tmp_path):
    base = random_model()
    InstructionResidual.extract(base, base).save(tmp_path / "r")
    assert all(not t.any() for t in load_file(tmp_path / "r" / "model.safetensors").values())


def test_folders_models_and_state_dicts_give_the_same(family):
    from transformers import AutoModelForCausalLM

    live = {n: AutoModelForCausalLM.from_pretrained(p) for n, p in family.items()}
    states = {n: dict(reversed(m.state_dict().items())) for n, m in live.items()}
    results = [
        InstructionResidual.extract(x["base"], x["instruct"]).apply(x["math"], 0.75).state_dict()
        for x in (family, live, states)
    ]
    assert all(torch.equal(results[0][n], r[n]) for r in results[1:] for n in results[0])


def test_it_equals_mergekits_linear_with_weights_one_one_minus_one(family):
    """The reference that the specification names: linear, weights (1, 1, -1), not normalised."""
    found = InstructionResidual.extract(family["base"], family["instruct"]).apply(family["math"]).state_dict()
    plain = merge(
        {"cpt": family["math"], "instruct": family["instruct"], "base2": family["base"]},
        method="linear",
        weights=[1, 1, -1],
        normalize=False,
    ).state_dict()
    assert all(torch.allclose(found[n], plain[n], atol=1e-6) for n in plain)


def test_the_tokenizer_and_chat_template_are_those_of_the_instruct_model(family, tmp_path):
    (family["instruct"] / "chat_template.jinja").write_text("instruct {{ messages }}")
    (family["math"] / "chat_template.jinja").unlink()
    (family["instruct"] / "generation_config.json").write_text('{"temperature": 0.3}')
    out = (
        InstructionResidual.extract(family["base"], family["instruct"])
        .apply(family["math"])
        .save_pretrained(tmp_path / "o")
    )
    assert (out / "chat_template.jinja").read_text() == "instruct {{ messages }}"
    assert (out / "generation_config.json").read_text() == '{"temperature": 0.3}'
    InstructionResidual.extract(family["base"], family["instruct"]).save(tmp_path / "r")
    out = InstructionResidual.load(tmp_path / "r").apply(family["math"]).save_pretrained(tmp_path / "o2")
    assert (out / "chat_template.jinja").read_text() == "instruct {{ messages }}"


def test_what_is_saved_tells_where_it_came_from(family, tmp_path):
    import hashlib

    InstructionResidual.extract(family["base"], family["instruct"]).save(tmp_path / "r")
    told = json.loads((tmp_path / "r" / "residual.json").read_text())
    digest = hashlib.sha256((family["base"] / "model.safetensors").read_bytes()).hexdigest()
    assert told["base"]["sha256"] == {"model.safetensors": digest}
    assert {t.dtype for t in load_file(tmp_path / "r" / "model.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize("source", ["folder", "model"])
def test_a_residual_of_nearly_full_rank_is_nearly_the_residual(source, family, tmp_path):
    from transformers import AutoModelForCausalLM

    pair = [family["base"], family["instruct"]]
    if source == "model":
        pair = [AutoModelForCausalLM.from_pretrained(p) for p in pair]
    whole = InstructionResidual.extract(*pair)
    whole.save(tmp_path / "low", rank=15)
    found = InstructionResidual.load(tmp_path / "low").apply(family["math"]).state_dict()
    expected = whole.apply(family["math"]).state_dict()
    kept = json.loads((tmp_path / "low" / "residual.json").read_text())["kept"]
    assert min(kept.values()) > 0.98
    error = sum(float((found[n] - expected[n]).square().sum()) for n in expected)
    size = sum(
        float((expected[n] - t).square().sum()) for n, t in load_file(family["math"] / "model.safetensors").items()
    )
    assert error / size < 0.02


def test_the_share_kept_by_a_rank_is_that_of_the_singular_values(tmp_path):
    base = {"w": torch.zeros(6, 6)}
    instruct = {"w": torch.diag(torch.tensor([3.0, 4.0, 0, 0, 0, 0]))}
    InstructionResidual.extract(base, instruct).save(tmp_path / "r", rank=1)
    assert json.loads((tmp_path / "r" / "residual.json").read_text())["kept"]["w"] == pytest.approx(16 / 25)


def test_numbers_that_are_no_weights_are_those_of_the_continued_model():
    weights = [[[1.0, 2.0]], [[1.5, 1.0]], [[2.0, 2.0]]]
    states = [{"w": torch.tensor(w), "steps": torch.tensor([i])} for i, w in enumerate(weights)]
    found = InstructionResidual.extract(states[0], states[1]).apply(states[2]).state_dict()
    assert found["steps"].tolist() == [2]
    assert found["w"].tolist() == [[2.5, 1.0]]


def test_tied_embeddings_stay_tied():
    base = random_model(tied=True)
    made = InstructionResidual.extract(base, relative(base, 1)).apply(relative(base, 2)).model()
    assert made.lm_head.weight.data_ptr() == made.model.embed_tokens.weight.data_ptr()


def test_added_tokens_come_from_the_instruct_model(tmp_path):
    base = random_model()
    instruct, grown = relative(base, 1), relative(base, 2)
    instruct.resize_token_embeddings(44, mean_resizing=False)
    folders = {"base": base, "instruct": instruct, "cpt": grown}
    folders = {n: save(m, tmp_path / n, words=44 if n == "instruct" else 40) for n, m in folders.items()}
    with pytest.raises(ValueError, match="--resize min-rows"):
        InstructionResidual.extract(folders["base"], folders["instruct"])
    residual = InstructionResidual.extract(folders["base"], folders["instruct"], resize="min-rows")
    found = residual.apply(folders["cpt"], resize="min-rows").state_dict()["lm_head.weight"]
    ours, tuned, moved = (m.lm_head.weight for m in (base, instruct, grown))
    assert torch.allclose(found[:40], moved + tuned[:40] - ours, atol=1e-6)
    assert torch.equal(found[40:], tuned[40:])


def test_a_target_that_came_from_the_instruct_model_is_warned_about(family):
    residual = InstructionResidual.extract(family["base"], family["instruct"])
    with pytest.warns(UserWarning, match="the residual is added twice"):
        residual.apply(family["instruct"])


def test_the_diagnosis_tells_lengths_and_angles(family, tmp_path):
    residual = InstructionResidual.extract(family["base"], family["instruct"])
    same, other = (residual.diagnose(family["base"], family[n]) for n in ("instruct", "math"))
    assert [r.cosine for r in same] == pytest.approx([1.0] * 6)
    assert all(abs(r.cosine) < 0.4 for r in other)
    base, tuned = (load_file(family[n] / "model.safetensors")["lm_head.weight"] for n in ("base", "instruct"))
    assert same[-1].layer == "lm_head"
    assert same[-1].relative == pytest.approx(float((tuned - base).norm() / base.norm()), rel=1e-6)
    residual.save(tmp_path / "r")
    loaded = InstructionResidual.load(tmp_path / "r").diagnose(family["base"], family["math"])
    assert [r.cosine for r in loaded] == pytest.approx([r.cosine for r in other], abs=1e-6)


def test_a_folder_without_a_residual_is_refused(family):
    with pytest.raises(ValueError, match=r"has no residual.json"):
        InstructionResidual.load(family["base"])


def test_a_rank_below_one_is_refused(family, tmp_path):
    with pytest.raises(ValueError, match="rank must be at least 1"):
        InstructionResidual.extract(family["base"], family["instruct"]).save(tmp_path / "r", rank=0)
