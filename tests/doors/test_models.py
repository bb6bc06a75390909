from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tameshi.doors.models import Untrusted, causal_lm, look_at, tensors


def edit(folder: Path, name: str, **changes: object) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_whole_folder_opens_with_its_tokenizer(tiny_llama):
    checkpoint = look_at(tiny_llama())
    model, tokenizer = causal_lm(checkpoint)
    assert model.config.num_hidden_layers == 2
    assert tokenizer("w3 w4")["input_ids"] == [3, 4]
    assert not model.training
    assert set(dict(tensors(checkpoint))) == set(checkpoint.places)


def test_dtype_is_chosen(tiny_llama):
    model, _ = causal_lm(look_at(tiny_llama()), dtype="bfloat16")
    assert model.dtype == torch.bfloat16


def test_the_hash_changes_with_one_weight_and_not_with_the_name(tiny_llama):
    one, two = tiny_llama("one"), tiny_llama("two")
    assert look_at(one).sha256() == look_at(two).sha256()
    weights = load_file(two / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, two / "model.safetensors", metadata={"format": "pt"})
    assert look_at(one).sha256() != look_at(two).sha256()


def test_a_pickle_is_refused_with_the_remedy(tiny_llama):
    folder = tiny_llama()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(Untrusted, match=r"as a pickle \(pytorch_model.bin\).*safe_serialization=True"):
        look_at(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_its_own_is_refused(tiny_llama, name):
    folder = tiny_llama()
    edit(folder, name, auto_map={"AutoModelForCausalLM": "evil.Model"})
    with pytest.raises(Untrusted, match=f"{name} asks to run code of its own"):
        look_at(folder)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(share=st.floats(0, 0.999))
def test_a_safetensors_file_cut_anywhere_is_refused(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    (folder / "config.json").write_text("{}")
    save_file({"a": torch.ones(100), "b": torch.zeros(7, 3)}, folder / "model.safetensors")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(Untrusted, match=r"model\.safetensors is not a whole safetensors file"):
        look_at(folder)


def test_a_weight_that_is_not_finite_is_named(tiny_llama):
    folder = tiny_llama()
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Untrusted, match=r"NaN or infinity in model\.layers\.1\.mlp\.up_proj\.weight"):
        causal_lm(look_at(folder))


def test_a_missing_weight_is_named(tiny_llama):
    folder = tiny_llama()
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Untrusted, match=r"lacks the weights model\.norm\.weight"):
        causal_lm(look_at(folder))


def test_a_tokenizer_larger_than_the_model_is_refused(tiny_llama):
    with pytest.raises(Untrusted, match="knows 40 tokens, but the model embeds only 32"):
        causal_lm(look_at(tiny_llama(words=40)))


def test_a_path_that_does_not_exist_is_one_sentence(tmp_path):
    with pytest.raises(Untrusted, match="does not exist"):
        look_at(tmp_path / "nothing")


def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path):
    (tmp_path / "weights").write_text("")
    with pytest.raises(Untrusted, match="is a file; a model is a folder"):
        look_at(tmp_path / "weights")


def test_a_hub_id_that_is_not_cached_is_not_downloaded():
    with pytest.raises(Untrusted, match="no model of that name in the hub's cache"):
        look_at("somebody/some-model")


def test_an_index_may_not_point_out_of_the_folder(tiny_llama):
    folder = tiny_llama()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(Untrusted, match="lies outside the folder"):
        look_at(folder)


def test_an_index_that_names_the_wrong_shard_is_refused(tiny_llama):
    folder = tiny_llama()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"not.there": "model.safetensors"}}))
    with pytest.raises(Untrusted, match=r"says that not\.there lies in model\.safetensors, but it does not"):
        look_at(folder)


def test_config_that_is_no_json_is_refused(tiny_llama):
    folder = tiny_llama()
    (folder / "config.json").write_text("{")
    with pytest.raises(Untrusted, match=r"config\.json is not JSON"):
        look_at(folder)
