"""The check of accelerated-diffusion holds on the sampler, and fails on a broken one."""

import math

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDPMPipeline,
    DDPMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import tameshi.diffusion.samplers as samplers
from tameshi.bench import run_check
from tameshi.bench.shelf import stand
from tameshi.checks.accelerated_diffusion import (
    crossing,
    needed,
    sample_pipeline,
    schedulers,
    sliced_wasserstein,
    slope,
    world,
)
from tameshi.nouns import Missing
from tameshi.specimens.pipeline import Pipeline

torch.set_num_threads(1)
QUICK = {"only": "exact", "seeds": 4, "evaluations": (16, 32, 64)}


@pytest.fixture(scope="module")
def working(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAMESHI_HOME", str(tmp_path_factory.mktemp("home")))
        yield run_check("accelerated-diffusion", **QUICK)


def test_the_sampler_is_of_second_order(working):
    assert not working.errors
    assert working.verdicts["C1"].outcome == "holds"
    assert working.rows.where(method="accelerated").mean("slope") <= -1.7
    assert -1.2 <= working.rows.where(method="ddpm").mean("slope") <= -0.8
    assert set(working.verdicts["C1"].parts[0].controls.values()) == {"fails"}


def test_without_its_correction_it_fails(monkeypatch, home):
    monkeypatch.setattr(samplers, "clipped", lambda delta, kappa: 0 * delta)
    verdicts = run_check("accelerated-diffusion", **QUICK).verdicts
    assert [verdicts[claim].outcome for claim in ("C1", "C2", "C3")] == ["fails"] * 3


def test_a_line_in_logarithms_is_read_back():
    counts = [8, 16, 32, 64]
    errors = [2.0 * n**-1.5 for n in counts]
    assert slope(counts, errors) == pytest.approx(-1.5)
    assert needed(counts, errors, 0.01) == pytest.approx(200 ** (2 / 3))
    assert needed(counts, errors, 1e-4) == pytest.approx(20000 ** (2 / 3))
    assert isinstance(needed(counts, errors, 1.0), Missing)
    assert isinstance(needed(counts, [0.5, 0.5, 0.5, 0.6], 0.1), Missing)


def test_where_two_lines_cross_is_found():
    counts = [8, 16, 32, 64]
    ours, theirs = [16 * n**-2.0 for n in counts], [0.8 / n for n in counts]
    assert crossing(counts, ours, theirs) == pytest.approx(20)
    assert isinstance(crossing(counts, theirs, ours), Missing)
    assert isinstance(crossing(counts, [1, 1, 1, 1], [2, 2, 2, 2]), Missing)


def test_evaluations_that_a_sampler_cannot_take_are_refused_before_anything_is_propagated(home):
    with pytest.raises(ValueError, match="takes a multiple of 2 evaluations, got 7"):
        run_check("accelerated-diffusion", only="exact", evaluations=(7,))


def test_every_world_has_mean_zero_and_variance_one():
    for seed in range(4):
        mixture = world(seed)
        assert mixture.weights @ mixture.means == pytest.approx(0, abs=1e-12)
        assert mixture.weights @ (mixture.means**2 + mixture.sds**2) == pytest.approx(1)


def test_dimensions_grow_by_the_root(home):
    rows = run_check("accelerated-diffusion", only="dimensions", sizes=(64, 256)).rows
    for method in rows.methods:
        small, large = (rows.where(method=method, dimension=d).mean("root_half_divergence") for d in (64, 256))
        assert large / small == pytest.approx(2, rel=0.02)


def test_schedulers_of_diffusers_stand_side_by_side(home):
    found = run_check("accelerated-diffusion", only="libraries", seeds=1, samples=2000, calls=(40,))
    assert not found.errors
    values = {m: found.rows.where(method=m).mean("histogram_variation") for m in found.rows.methods}
    assert len(values) == 8
    assert all(value < 0.25 for value in values.values())


@pytest.mark.filterwarnings("ignore:__array.*:DeprecationWarning")  # diffusers copies as NumPy 1 did
def test_all_schedulers_are_of_the_same_noise():
    levels = [make().alphas_cumprod for make, _ in schedulers().values()]
    assert len(levels) == 7
    assert all(torch.allclose(one.double(), levels[0], rtol=1e-4) for one in levels)


def test_sliced_distance_of_equal_and_shifted_clouds():
    cloud = np.random.default_rng(0).normal(size=(200, 3))
    assert sliced_wasserstein(cloud, cloud[::-1]) == 0
    line = np.random.default_rng(0).normal(size=(200, 1))
    assert sliced_wasserstein(line, line + 0.7) == pytest.approx(0.7)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "pipe", safe_serialization=True)
    return tmp_path / "pipe"


def test_the_users_pipeline_is_checked(folder, home):
    found = run_check(
        "accelerated-diffusion",
        only="libraries",
        seeds=1,
        pipeline=str(folder),
        network_calls=(5,),
        images=3,
        reference_steps=8,
        calls=(4,),
        samples=100,
    )
    assert not found.errors
    assert len(found.rows.where(metric="sliced_wasserstein")) == 4
    assert all(math.isfinite(v) for v in found.rows.numbers("sliced_wasserstein"))


def test_apply_writes_images_and_repeats(folder, tmp_path):
    for name in ("one", "two"):
        told = sample_pipeline.function(Pipeline.open(str(folder)), output=tmp_path / name, images=2, steps=3)
    assert "2 images, 5 network calls each" in told
    assert "reconstruction" in told
    assert (tmp_path / "one" / "image-1.png").read_bytes() == (tmp_path / "two" / "image-1.png").read_bytes()
    with pytest.raises(ValueError, match="--steps must be at least 2"):
        sample_pipeline.function(Pipeline.open(str(folder)), output=tmp_path / "three", steps=1)
    assert not (tmp_path / "three").exists()


@pytest.fixture
def worded(tmp_path):
    """A Stable Diffusion pipeline in small, whose tokenizer knows letters."""
    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    text = {"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16, "max_position_embeddings": 16}
    blocks = {"block_out_channels": (8, 8), "norm_num_groups": 4}
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        **blocks,
    )
    StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, sample_size=8),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(**text, num_hidden_layers=1, num_attention_heads=2, bos_token_id=0, eos_token_id=1)
        ),
        tokenizer=CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=16),
        unet=unet,
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(tmp_path / "worded", safe_serialization=True)
    return tmp_path / "worded"


def test_a_pipeline_that_takes_words_is_sampled_and_checked(worded, tmp_path, home):
    def drawn(prompt, name):
        told = sample_pipeline.function(
            Pipeline.open(str(worded)), output=tmp_path / name, images=1, steps=3, prompt=prompt
        )
        assert "1 images, 5 network calls each" in told
        return (tmp_path / name / "image-0.png").read_bytes()

    assert drawn("a cat", "one") == drawn("a cat", "two") != drawn("a dog by the sea", "three")
    found = run_check(
        "accelerated-diffusion", only="libraries", seeds=1, pipeline=str(worded), prompt="a cat", network_calls=(5,),
        images=2, reference_steps=6, calls=(4,), samples=100,
    )  # fmt: skip
    assert not found.errors
    distances = found.rows.numbers("sliced_wasserstein")
    assert len(distances) == 4
    assert all(math.isfinite(distance) and distance > 0 for distance in distances)


def test_figures_are_drawn_from_the_rows(working):
    first, second = stand("accelerated-diffusion").figures
    assert first.function(working.rows).axes
    assert second.function(working.rows) is None
