"""What does not fit is refused before a byte is written, in one sentence with the file, both values and the remedy."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.merging.families import random_model, relative, save, tokenizer

from tameshi.merging import DoesNotFit, merge


def rewrite(folder, change):
    """Change the tensors of a folder of one shard."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def reconfigure(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def refused(family, tmp_path, message, method="task-arithmetic"):
    with pytest.raises(ValueError, match=message):
        merge({"math": family["math"]}, method=method, base=family["base"]).save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("who", ["base", "math"])
def test_a_number_that_is_none(bad, who, family, tmp_path):
    rewrite(family[who], lambda state: state["model.layers.1.mlp.up_proj.weight"].__setitem__((3, 4), bad))
    refused(family, tmp_path, rf"{who}.model.safetensors holds NaN or infinity in model.layers.1.mlp.up_proj.weight")


def test_a_missing_tensor(family, tmp_path):
    rewrite(family["math"], lambda state: state.pop("model.layers.2.mlp.down_proj.weight"))
    refused(family, tmp_path, r"math lacks model.layers.2.mlp.down_proj.weight, which .*base has")


def test_a_tensor_too_many(family, tmp_path):
    rewrite(family["math"], lambda state: state.__setitem__("extra.weight", torch.ones(2)))
    refused(family, tmp_path, r"base lacks extra.weight, which .*math has")


def test_another_shape(family, tmp_path):
    rewrite(family["math"], lambda state: state.__setitem__("model.norm.weight", torch.ones(17)))
    refused(family, tmp_path, r"model.norm.weight is 16 in .*base.model.safetensors and 17 in .*math.model.safetensors")


def test_another_kind_of_number(family, tmp_path):
    rewrite(family["math"], lambda state: state.__setitem__("model.norm.weight", torch.ones(16, dtype=torch.int64)))
    refused(family, tmp_path, r"model.norm.weight is torch.float32 in .* and torch.int64 in .*floating point")


def test_a_quantised_tensor(family, tmp_path):
    rewrite(
        family["math"], lambda state: state.__setitem__("model.norm.weight", torch.ones(16).to(torch.float8_e4m3fn))
    )
    refused(family, tmp_path, "stores model.norm.weight as F8_E4M3, a quantised type")


def test_a_quantised_checkpoint(family, tmp_path):
    reconfigure(family["math"], quantization_config={"quant_method": "gptq", "bits": 4})
    refused(family, tmp_path, r"math.config.json has a quantization_config")


@pytest.mark.parametrize(
    ("key", "value"), [("num_hidden_layers", 4), ("model_type", "mistral"), ("num_attention_heads", 4)]
)
def test_another_architecture(key, value, family, tmp_path):
    reconfigure(family["math"], **{key: value})
    refused(family, tmp_path, rf"{key} is .* in .*base and {value} in .*math; only models of one family")


def test_another_rotary_embedding(family, tmp_path):
    reconfigure(family["math"], rope_parameters={"rope_theta": 500000.0, "rope_type": "default"})
    refused(family, tmp_path, "rope_parameters is .* in .*base and .*500000")


def test_a_head_of_its_own_beside_a_tied_one(tmp_path):
    tied = random_model(tied=True)
    family = {"base": save(tied, tmp_path / "base"), "math": save(random_model(), tmp_path / "math")}
    reconfigure(family["math"], tie_word_embeddings=True)
    refused(family, tmp_path, "math has a lm_head.weight of its own and .*base ties it")


def test_another_tokenizer(family, tmp_path):
    told = json.loads((family["math"] / "tokenizer.json").read_text())
    vocabulary = told["model"]["vocab"]
    vocabulary["w3"], vocabulary["w4"] = vocabulary["w4"], vocabulary["w3"]
    (family["math"] / "tokenizer.json").write_text(json.dumps(told))
    refused(family, tmp_path, r"token 'w3' has id 7 in .*base and 8 in .*math; models with different tokenizers")


def test_a_tokenizer_that_only_adds_tokens_fits(family):
    tokenizer(44).save_pretrained(family["math"])
    merged = merge({"math": family["math"]}, method="task-arithmetic", base=family["base"])
    assert any("40 tokens" in note and "44" in note for note in merged.notes)


def test_a_model_that_does_not_descend_from_the_base(tmp_path):
    family = {"base": save(random_model(), tmp_path / "base"), "math": save(random_model(seed=9), tmp_path / "math")}
    refused(family, tmp_path, r"math does not descend from .*base: the cosine of their weights is -?0\.0")
    merge({"math": family["math"]}, method="task-arithmetic", base=family["base"], allow_unrelated=True)


def test_a_truncated_shard_is_refused_wherever_it_is_cut(family, tmp_path):
    file = family["math"] / "model.safetensors"
    whole = file.read_bytes()
    for cut in range(64):
        file.write_bytes(whole[: len(whole) * cut // 64])
        refused(family, tmp_path, "math.model.safetensors")


@pytest.mark.parametrize("position", [0, 3, 9, 40])
def test_a_flipped_byte_in_the_header_is_refused_or_harmless(position, family, tmp_path):
    file = family["math"] / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[position] ^= 0xFF
    file.write_bytes(content)
    refused(family, tmp_path, "math")


def sharded(tmp_path):
    base = random_model()
    folders = {n: save(m, tmp_path / n, shards=3) for n, m in {"base": base, "math": relative(base, 1)}.items()}
    index = folders["math"] / "model.safetensors.index.json"
    return folders, index, json.loads(index.read_text())


def test_a_flipped_entry_of_the_index(tmp_path):
    family, index, told = sharded(tmp_path)
    names = sorted(told["weight_map"])
    first, other = names[0], next(n for n in names if told["weight_map"][n] != told["weight_map"][names[0]])
    told["weight_map"][first] = told["weight_map"][other]
    index.write_text(json.dumps(told))
    refused(family, tmp_path, "model.safetensors.index.json says that")


@pytest.mark.parametrize("outside", ["../../secret.safetensors", "/etc/secret.safetensors", "sub/x.safetensors"])
def test_an_index_that_leads_out_of_the_folder(outside, tmp_path):
    family, index, told = sharded(tmp_path)
    told["weight_map"][next(iter(told["weight_map"]))] = outside
    index.write_text(json.dumps(told))
    refused(family, tmp_path, "lies outside the folder")


def test_a_shard_that_is_not_there(tmp_path):
    family, _, _ = sharded(tmp_path)
    sorted(family["math"].glob("*.safetensors"))[0].unlink()
    refused(family, tmp_path, "does not exist, but model.safetensors.index.json names it")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"])
def test_a_link_out_of_the_folder(name, family, tmp_path):
    file = family["math"] / name
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file.replace(elsewhere / name)
    file.symlink_to(elsewhere / name)
    refused(family, tmp_path, rf"{name} is a link to .*elsewhere.*outside the folder")


def test_the_links_of_the_hubs_cache_are_followed(family, tmp_path):
    store = tmp_path / "models--me--math"
    (store / "blobs").mkdir(parents=True)
    snapshot = store / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in family["math"].iterdir():
        file.replace(store / "blobs" / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    merged = merge({"math": snapshot}, method="task-arithmetic", base=family["base"])
    assert (merged.save_pretrained(tmp_path / "out") / "model.safetensors").is_file()


def test_a_pickled_model(family, tmp_path):
    (family["math"] / "model.safetensors").rename(family["math"] / "pytorch_model.bin")
    refused(family, tmp_path, "holds its weights as a pickle")


def test_a_header_that_claims_terabytes(family, tmp_path):
    file = family["math"] / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 1 << 42) + b"{}")
    refused(family, tmp_path, "math.model.safetensors")


def test_a_tensor_name_with_terminal_codes_is_spelt_out():
    states = [{"w\x1b[31m": torch.tensor([float("nan")])}, {"w\x1b[31m": torch.ones(1)}]
    with pytest.raises(DoesNotFit, match=r"w\\u001b\[31m"):
        merge({"a": states[0], "b": states[1]})
