from __future__ import annotations

import pytest
from safetensors.torch import load_file, save_file

from tameshi.bench import run_check
from tameshi.doors.models import Untrusted
from tameshi.specimens import causal_lm
from tameshi.specimens.causal_lm import CausalLM


def test_the_shipped_model_opens_and_knows_its_tokens():
    subject = CausalLM.open("specimen:modes")
    assert subject.is_specimen
    assert subject.tokenizer("<bos> <mode>")["input_ids"] == [1, 4]
    assert subject.model.num_parameters() == 356_608


def test_the_tokenizer_is_had_without_the_weights_and_a_fresh_model_is_kept_by_nobody(monkeypatch):
    subject = CausalLM.open("specimen:modes")
    assert subject.fresh() is not subject.fresh()
    assert subject.model is subject.model
    other = CausalLM.open("specimen:modes")
    monkeypatch.setattr(causal_lm.models, "causal_lm", lambda *a, **k: pytest.fail("read the weights"))
    assert other.tokenizer("<bos>")["input_ids"] == [1]


def test_a_flipped_byte_in_a_specimen_is_refused(tmp_path, monkeypatch):
    import shutil

    shutil.copytree(causal_lm.SHIPPED, tmp_path / "models")
    weights = tmp_path / "models" / "modes" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(causal_lm, "SHIPPED", tmp_path / "models")
    with pytest.raises(Untrusted, match="is not the specimen that was shipped"):
        CausalLM.open("specimen:modes")


def test_a_folder_of_ones_own_opens_in_the_precision_that_was_asked_for(tiny_llama):
    subject = CausalLM.open(str(tiny_llama()), dtype="bfloat16")
    assert str(subject.model.dtype) == "torch.bfloat16"
    assert not subject.is_specimen
    with pytest.raises(ValueError, match="--dtype takes auto, float32, bfloat16 or float16, got 'int8'"):
        CausalLM.open(str(tiny_llama("other")), dtype="int8")
    with pytest.raises(ValueError, match="there is no specimen model 'nothing'; there are"):
        CausalLM.open("specimen:nothing")


def test_what_would_not_open_is_refused_before_anything_is_written(tiny_llama, home):
    broken = tiny_llama()
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("inf")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    for folder, said in ((broken, "holds NaN or infinity"), (tiny_llama("wide", words=40), "knows 40 tokens")):
        with pytest.raises(Untrusted, match=said):
            run_check("q-filters", model=str(folder))
    assert not home.exists()
