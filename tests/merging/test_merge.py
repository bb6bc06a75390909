"""The engine: folders, live models and state dicts in; tensors, models and folders out."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tests.merging.families import random_model, relative, save, tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from tameshi.merging import merge, weights_of


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "mixtral"])
def test_a_merged_folder_opens_in_plain_transformers_and_generates(kind, tied, dtype, tmp_path):
    base = random_model(kind, tied=tied, dtype=dtype)
    models = {"base": base, "one": relative(base, 1), "two": relative(base, 2)}
    folders = {name: save(m, tmp_path / name, shards=3, words=40) for name, m in models.items()}
    assert all(len(list(folder.glob("*.safetensors"))) >= 3 for folder in folders.values())
    merged = merge({n: folders[n] for n in ("one", "two")}, method="task-arithmetic", base=folders["base"], weights=0.5)
    out = merged.save_pretrained(tmp_path / "out", shard_bytes=8_000)
    assert (out / "model.safetensors.index.json").is_file()
    opened, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert opened.dtype == dtype
    expected = {name: p.float() for name, p in base.state_dict().items()}
    for label in ("one", "two"):
        for name, p in models[label].state_dict().items():
            expected[name] = expected[name] + 0.5 * (p.float() - base.state_dict()[name].float())
    for name, p in opened.state_dict().items():
        assert torch.allclose(
            p.float(), expected[name].to(dtype).float(), atol=1e-6 if dtype == torch.float32 else 1e-2
        )
    words = AutoTokenizer.from_pretrained(out)
    asked = words.apply_chat_template([{"role": "user", "content": "w3"}], tokenize=False)
    assert asked == "<user> w3 "
    ids = words("w3 w4", return_tensors="pt")["input_ids"]
    assert opened.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape[1] > ids.shape[1]
    if tied:
        assert opened.lm_head.weight.data_ptr() == opened.model.embed_tokens.weight.data_ptr()


def test_shards_of_the_inputs_do_not_matter(tmp_path):
    base, one = random_model(), relative(random_model(), 1)
    whole = {n: save(m, tmp_path / f"{n}-1") for n, m in (("base", base), ("one", one))}
    cut = {n: save(m, tmp_path / f"{n}-3", shards=3) for n, m in (("base", base), ("one", one))}
    assert len(list(cut["one"].glob("*.safetensors"))) > 1
    results = [merge({"one": f["one"]}, method="ties", base=f["base"]).state_dict() for f in (whole, cut)]
    assert all(torch.equal(results[0][n], results[1][n]) for n in results[0])


@pytest.mark.parametrize("method", ["linear", "ties", "dare", "slerp", "multi-slerp"])
def test_folders_models_and_state_dicts_give_the_same(method, tmp_path):
    base = random_model()
    models = {"one": relative(base, 1), "two": relative(base, 2)}
    around = method in ("ties", "dare")
    by_model = merge(models, method=method, base=base if around else None)
    by_state = merge(
        {n: m.state_dict() for n, m in models.items()}, method=method, base=base.state_dict() if around else None
    )
    save(base, tmp_path / "base")
    folders = {n: save(m, tmp_path / n) for n, m in models.items()}
    by_folder = merge(folders, method=method, base=tmp_path / "base" if around else None)
    one, two, three = by_model.model().state_dict(), by_state.state_dict(), by_folder.state_dict()
    assert all(torch.equal(one[n], two[n]) and torch.equal(one[n], three[n]) for n in one)
    assert torch.equal(by_folder.model().state_dict()["lm_head.weight"], one["lm_head.weight"])


def test_merging_leaves_a_live_model_as_it_was():
    base, one = random_model(), relative(random_model(), 1)
    before = {n: p.clone() for n, p in base.state_dict().items()}
    merge({"one": one}, method="task-arithmetic", base=base).model()
    assert all(torch.equal(before[n], p) for n, p in base.state_dict().items())


def test_tied_tensors_of_a_live_model_stay_tied_and_count_once(tmp_path):
    base = random_model(tied=True)
    one = relative(base, 1)
    merged = merge({"one": one}, method="task-arithmetic", base=base, weights=0.5)
    assert "lm_head.weight" not in merged.shapes
    state = merged.state_dict()
    assert state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()
    made = merged.model()
    assert made.lm_head.weight.data_ptr() == made.model.embed_tokens.weight.data_ptr()
    by_folder = merge(
        {"one": save(one, tmp_path / "one")}, method="task-arithmetic", base=save(base, tmp_path / "b"), weights=0.5
    )
    assert torch.equal(by_folder.state_dict()["model.embed_tokens.weight"], state["model.embed_tokens.weight"])
    mixed = merge({"one": one}, method="task-arithmetic", base=tmp_path / "b", weights=0.5)
    assert torch.equal(mixed.state_dict()["model.embed_tokens.weight"], state["model.embed_tokens.weight"])


def test_a_model_in_memory_is_saved_as_transformers_saves_it(tmp_path):
    base = random_model("mixtral")
    merged = merge({"one": relative(base, 1)}, method="linear", weights=1)
    opened = AutoModelForCausalLM.from_pretrained(merged.save_pretrained(tmp_path / "out"))
    assert all(torch.equal(p, merged.model().state_dict()[n]) for n, p in opened.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks in an old way
@pytest.mark.parametrize(
    "more", [{}, {"use_rslora": True}, {"use_dora": True}, {"rank_pattern": {"v_proj": 3}}], ids=str
)
def test_an_adapter_is_merged_into_its_base_first(more, tmp_path):
    base = random_model()
    folder = save(base, tmp_path / "base")
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **more)
    )
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_" in name:
                p.copy_(0.1 * torch.randn(p.shape, generator=draw))
    adapted.save_pretrained(tmp_path / "adapter")
    expected = adapted.merge_and_unload().state_dict()
    streamed = weights_of(tmp_path / "adapter", base=folder).live is None
    assert streamed == (not more or "use_rslora" in more)
    for around in (folder, base):
        found = merge({"a": tmp_path / "adapter"}, method="task-arithmetic", base=around).state_dict()
        assert all(torch.allclose(found[n], expected[n], atol=1e-6) for n in expected)
    assert not torch.equal(
        expected["model.layers.0.self_attn.q_proj.weight"], base.state_dict()["model.layers.0.self_attn.q_proj.weight"]
    )


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_on_a_folder_is_merged_tensor_by_tensor_with_the_tokenizer_of_its_base(tmp_path):
    folder = save(random_model(), tmp_path / "base", words=40)
    config = LoraConfig(r=2, target_modules=["q_proj"])
    get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).save_pretrained(tmp_path / "adapter")
    out = merge({"a": tmp_path / "adapter"}, method="linear", tokenizer="a").save_pretrained(tmp_path / "out")
    assert AutoTokenizer.from_pretrained(out).chat_template == tokenizer().chat_template
    assert "adapter_model.safetensors" in (out / "README.md").read_text()
    state = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    next(iter(state.values()))[0, 0] = float("nan")
    save_file(state, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"adapter_model.safetensors holds NaN"):
        merge({"a": tmp_path / "adapter"}, method="linear")


def test_a_pickled_adapter_is_refused(tmp_path):
    folder = save(random_model(), tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no adapter_model\.safetensors"):
        merge({"a": tmp_path / "adapter"}, method="task-arithmetic", base=folder)


def test_numbers_that_are_no_weights_are_copied(tmp_path):
    states = [{"w": torch.tensor([1.0, 2.0]), "steps": torch.tensor([5 * i])} for i in (1, 2)]
    assert merge({"a": states[0], "b": states[1]}).state_dict()["steps"].tolist() == [5]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 3), st.permutations(["math", "code", "instruct"]))
def test_the_masks_of_dare_follow_the_label_and_the_name(seed, order):
    states = {
        n: {"a.weight": torch.randn(4, 5, generator=torch.Generator().manual_seed(i)), "b.weight": torch.ones(3) * i}
        for i, n in enumerate(["math", "code", "instruct"])
    }
    base = {"a.weight": torch.zeros(4, 5), "b.weight": torch.zeros(3)}
    one = merge(states, method="dare", base=base, seed=seed, allow_unrelated=True).state_dict()
    two = merge({n: states[n] for n in order}, method="dare", base=base, seed=seed, allow_unrelated=True).state_dict()
    assert all(torch.allclose(one[n], two[n], atol=1e-6) for n in one)


def test_another_seed_gives_another_mask():
    base, one = {"w": torch.zeros(100)}, {"w": torch.ones(100)}
    found = [merge({"m": one}, method="dare", base=base, seed=s).state_dict()["w"] for s in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


# --- settings -------------------------------------------------------------------------------------------------------


def test_a_gradient_goes_from_the_first_block_to_the_last(family):
    merged = merge({"m": family["math"]}, method="task-arithmetic", base=family["base"], weights=[[0.0, 0.5, 1.0]])
    base, expert = (load_file(family[n] / "model.safetensors") for n in ("base", "math"))
    found = merged.state_dict()
    for block, share in enumerate([0, 0.5, 1]):
        name = f"model.layers.{block}.mlp.up_proj.weight"
        assert torch.allclose(found[name], base[name] + share * (expert[name] - base[name]), atol=1e-6)
    assert torch.equal(found["model.embed_tokens.weight"], base["model.embed_tokens.weight"])
    assert torch.allclose(found["lm_head.weight"], expert["lm_head.weight"], atol=1e-6)


def test_a_filter_chooses_parameters_by_name(family):
    weights = {"m": [{"filter": "mlp", "value": 1.0}, {"value": 0.0}]}
    found = merge({"m": family["math"]}, method="task-arithmetic", base=family["base"], weights=weights).state_dict()
    base, expert = (load_file(family[n] / "model.safetensors") for n in ("base", "math"))
    assert torch.equal(found["model.layers.1.self_attn.q_proj.weight"], base["model.layers.1.self_attn.q_proj.weight"])
    assert torch.allclose(
        found["model.layers.1.mlp.up_proj.weight"], expert["model.layers.1.mlp.up_proj.weight"], atol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "ties", "density": 0.5}, "ties has no setting 'density'; it has weights, densities"),
        ({"method": "ties", "weights": [1.0]}, "weights must be one value per model"),
        ({"method": "ties", "weights": {"math": 1.0}}, "weights must be given for math, code"),
        ({"method": "ties", "dtype": "int4"}, "dtype must be one of"),
        ({"method": "ties", "densities": 0.0}, "density must be in"),
        ({"method": "ties", "weights": [[{"filter": "nothing", "value": 1}], 1]}, "no filter of"),
        ({"method": "tie"}, "there is no merge method"),
        ({"method": "ties", "tokenizer": "maths"}, "tokenizer must name one of base, math, code"),
        ({"method": "ties", "target": "x"}, "takes no target"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(arguments, message, family, tmp_path):
    with pytest.raises(ValueError, match=message):
        merge({n: family[n] for n in ("math", "code")}, base=family["base"], **arguments).save_pretrained(
            tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*partial"))


def test_a_base_is_needed_where_the_method_merges_around_one(family):
    with pytest.raises(ValueError, match="TIES merges around a common ancestor; pass base"):
        merge({"math": family["math"]}, method="ties")


def test_slerp_of_three_folders_is_refused(family):
    with pytest.raises(ValueError, match="exactly 2 models, got 3: math, code, instruct"):
        merge({n: family[n] for n in ("math", "code", "instruct")}, method="slerp")


# --- what is written ------------------------------------------------------------------------------------------------


def test_the_dtype_of_the_result_can_be_chosen(family, tmp_path):
    models = {n: family[n] for n in ("math", "code")}
    wide = merge(models, method="linear").state_dict()
    out = merge(models, method="linear", dtype="bfloat16").save_pretrained(tmp_path / "out")
    narrow = load_file(out / "model.safetensors")
    assert all(torch.equal(narrow[n], wide[n].bfloat16()) for n in wide)
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_card_tells_recipe_hashes_and_papers(family, tmp_path):
    import hashlib

    out = merge({"math": family["math"]}, method="ties", base=family["base"]).save_pretrained(tmp_path / "out")
    card = (out / "README.md").read_text()
    assert hashlib.sha256((family["math"] / "model.safetensors").read_bytes()).hexdigest() in card
    assert "arXiv:2306.01708" in card
    assert "method: ties" in card


def test_the_tokenizer_comes_from_the_model_that_is_named(family, tmp_path):
    other = tokenizer()
    other.chat_template = "{{ messages }}"
    other.save_pretrained(family["code"])
    merged = merge({n: family[n] for n in ("math", "code")}, method="linear", tokenizer="code")
    out = merged.save_pretrained(tmp_path / "out")
    assert AutoTokenizer.from_pretrained(out).chat_template == "{{ messages }}"


def test_rows_for_added_tokens_come_from_the_model_with_the_tokenizer(tmp_path):
    base = random_model()
    tuned = relative(base, 1)
    tuned.resize_token_embeddings(44, mean_resizing=False)
    folders = {"base": save(base, tmp_path / "base", words=40), "tuned": save(tuned, tmp_path / "tuned", words=44)}
    with pytest.raises(
        ValueError, match=r"lm_head.weight is 40 x 16 in .*base.* and 44 x 16 in .*tuned.*--resize min-rows"
    ):
        merge({"t": folders["tuned"]}, method="task-arithmetic", base=folders["base"])
    merged = merge(
        {"t": folders["tuned"]},
        method="task-arithmetic",
        base=folders["base"],
        weights=0.5,
        resize="min-rows",
        tokenizer="t",
    )
    found, ours, theirs = merged.state_dict()["lm_head.weight"], base.lm_head.weight, tuned.lm_head.weight
    assert torch.equal(found[40:], theirs[40:])
    assert torch.allclose(found[:40], ours + 0.5 * (theirs[:40] - ours), atol=1e-6)
    opened = AutoModelForCausalLM.from_pretrained(merged.save_pretrained(tmp_path / "out"))
    assert opened.config.vocab_size == 44
    small = merge({"t": folders["tuned"]}, method="linear", resize="min-rows", tokenizer="t").state_dict()
    assert small["lm_head.weight"].shape == (44, 16)


def test_a_state_dict_alone_cannot_become_a_folder(tmp_path):
    with pytest.raises(ValueError, match="no configuration"):
        merge({"a": random_model().state_dict()}).save_pretrained(tmp_path / "out")


def test_a_plan_says_what_would_be_done(family):
    plan = merge({"math": family["math"], "base2": family["base"]}, method="ties", base=family["base"]).plan()
    assert "TIES" in plan
    assert "memory beyond the mapped files" in plan
    assert "base2 has the weights of the base and adds nothing" in plan


def test_a_taken_place_is_not_touched(family, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OSError, match="already holds something"):
        merge({"m": family["math"]}).save_pretrained(tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
