import json

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from tameshi.diffusion import AcceleratedStochasticScheduler
from tameshi.doors.models import Untrusted
from tameshi.specimens.pipeline import Pipeline


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "pipe", safe_serialization=True)
    return tmp_path / "pipe"


def test_a_folder_is_looked_at_and_loaded_when_it_is_used(folder):
    pipeline = Pipeline.open(str(folder))
    assert pipeline.folder.kind == "DDPMPipeline"
    assert pipeline.loaded is pipeline.loaded
    assert pipeline.loaded.unet.config.sample_size == 8


def test_a_pipeline_saved_with_our_scheduler_is_opened_by_diffusers_and_by_us(folder, tmp_path):
    pipeline = Pipeline.open(str(folder)).loaded
    pipeline.scheduler = AcceleratedStochasticScheduler.from_config(pipeline.scheduler.config, clip_kappa=1.5)
    pipeline.save_pretrained(tmp_path / "ours", safe_serialization=True)
    for opened in (DDPMPipeline.from_pretrained(tmp_path / "ours"), Pipeline.open(str(tmp_path / "ours")).loaded):
        assert isinstance(opened.scheduler, AcceleratedStochasticScheduler)
        assert opened.scheduler.config.clip_kappa == 1.5


def test_images_are_drawn_one_generator_each_and_the_scheduler_is_put_back(folder):
    pipeline = Pipeline.open(str(folder))
    own = pipeline.loaded.scheduler
    other = AcceleratedStochasticScheduler.from_config(own.config)
    four = pipeline.draw(other, images=4, steps=3, seed=5, kind="np")
    one = pipeline.draw(other, images=1, steps=3, seed=6, kind="np")
    assert four.shape == (4, 8, 8, 1)
    assert four[1] == pytest.approx(one[0], abs=1e-6)
    assert pipeline.loaded.scheduler is own
    assert not pipeline.takes_words


def test_the_fingerprint_follows_the_weights(folder):
    before = Pipeline.open(str(folder)).fingerprint
    assert Pipeline.open(str(folder)).fingerprint == before
    (weights,) = folder.rglob("*.safetensors")
    tensors = load_file(weights)
    tensors["conv_in.bias"] += 1
    save_file(tensors, weights)
    assert Pipeline.open(str(folder)).fingerprint != before


def test_weights_that_are_not_finite_are_refused(folder):
    (weights,) = folder.rglob("*.safetensors")
    tensors = load_file(weights)
    tensors["conv_in.bias"][0] = float("nan")
    save_file(tensors, weights)
    with pytest.raises(Untrusted, match="NaN or infinity in conv_in"):
        _ = Pipeline.open(str(folder)).loaded


def change(folder, **changes):
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | changes))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "model_index.json").unlink(), "no folder of a diffusers pipeline"),
        (lambda f: (f / "model_index.json").write_text("{"), "is not JSON"),
        (lambda f: change(f, _class_name="../evil"), "does not name a pipeline"),
        (lambda f: change(f, unet=["my_code", "Net"]), "takes unet from 'my_code'"),
        (lambda f: (f / "unet" / "weights.bin").write_bytes(b"x"), "is a pickle"),
        (lambda f: (f / "pipeline.py").write_text("print(1)"), "is code, which is never run"),
        (lambda f: (f / "unet" / "x.json").symlink_to("/etc/hostname"), "leads out of the folder"),
        (lambda f: next(f.rglob("*.safetensors")).unlink(), "holds no safetensors"),
        (lambda f: (f / "unet" / "config.json").write_text('{"auto_map": {}}'), "auto_map"),
    ],
)
def test_folders_that_are_not_to_be_trusted_are_refused(folder, harm, message):
    harm(folder)
    with pytest.raises(Untrusted, match=message):
        Pipeline.open(str(folder))


def test_a_cut_file_is_refused(folder):
    (weights,) = folder.rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(Untrusted, match="not a whole safetensors"):
        _ = Pipeline.open(str(folder)).loaded
