"""The check of accelerated-diffusion holds on the sampler, and fails on a broken one."""

import math

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
from tameshi.checks.accelerated_diffusion import sample_pipeline, schedulers, world
from tameshi.diffusion import SAMPLERS
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


def test_the_fixed_world_is_crossed_where_it_must_be(working):
    read = {m: working.rows.where(method=m).where(check="exact") for m in working.rows.methods}
    own = {
        m: next(r.values for r in rows if r.seed == 0 and "slope" in r.values)
        for m, rows in read.items()
        if m in SAMPLERS
    }
    assert own["accelerated"]["evaluations_to_0.01"] == pytest.approx(64, abs=1)
    assert own["ddpm"]["evaluations_to_0.01"] == pytest.approx(250, rel=0.05)
    assert own["ddpm-posterior"]["evaluations_to_0.01"] == pytest.approx(180, rel=0.05)
    assert own["accelerated-2024"]["evaluations_to_0.01"] == pytest.approx(85, rel=0.05)
    assert 16 < own["ddpm"]["crossing_with_accelerated"] < 32
    assert 25 < own["ddpm-posterior"]["crossing_with_accelerated"] < 30
    assert own["accelerated-2024"]["crossing_with_accelerated"] == pytest.approx(50, abs=2)
    assert own["accelerated"]["crossing_with_accelerated"].reason == "ours is better at 16 evaluations already"


def test_without_its_correction_it_fails(monkeypatch, home):
    monkeypatch.setattr(samplers, "clipped", lambda delta, kappa: 0 * delta)
    verdicts = run_check("accelerated-diffusion", **QUICK).verdicts
    assert [verdicts[claim].outcome for claim in ("C1", "C2", "C3")] == ["fails"] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluations": (7,)}, "takes a multiple of 2 evaluations, got 7"),
        ({"score_errors": (0.0,)}, "score errors must be above 0, got 0"),
        ({"budget": 9}, "takes a multiple of 2 evaluations, got 9"),
        ({"sizes": (0,)}, "sizes must be at least 1, got 0"),
        ({"calls": (2,)}, "calls at least 3"),
        ({"samples": 0}, "samples and images must be at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_measured(home, options, message):
    with pytest.raises(ValueError, match=message):
        run_check("accelerated-diffusion", **options)
    assert not home.exists()


def test_one_number_of_evaluations_is_enough_to_measure_and_the_order_does_not_matter(home):
    found = run_check("accelerated-diffusion", only="exact", seeds=1, evaluations=(8,))
    assert not found.errors
    turned = run_check("accelerated-diffusion", only="exact", seeds=1, evaluations=(32, 8, 16))
    assert turned.rows.where(method="ddpm").mean("slope") == pytest.approx(-0.9, abs=0.1)


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


def test_apply_writes_images_and_repeats(folder, tmp_path, monkeypatch):
    for name in ("one", "two"):
        told = sample_pipeline.function(Pipeline.open(str(folder)), output=tmp_path / name, images=2, steps=3)
    assert "2 images, 5 network calls each" in told
    assert "reconstruction" in told
    assert (tmp_path / "one" / "image-1.png").read_bytes() == (tmp_path / "two" / "image-1.png").read_bytes()
    sample_pipeline.function(Pipeline.open(str(folder)), output=tmp_path / "alone", images=1, steps=3)
    assert (tmp_path / "one" / "image-0.png").read_bytes() == (tmp_path / "alone" / "image-0.png").read_bytes()
    monkeypatch.setattr(Pipeline, "draw", lambda *_, **__: pytest.fail("drawn in vain"))
    with pytest.raises(OSError, match="already holds something"):
        sample_pipeline.function(Pipeline.open(str(folder)), output=tmp_path / "one", images=2, steps=3)
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


def test_figures_are_drawn_from_the_rows_and_say_that_it_is_a_reconstruction(working):
    first, second = stand("accelerated-diffusion").figures
    (axes,) = first.function(working.rows).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert any(line.startswith("accelerated, slope -2.") for line in told)
    assert any(line.startswith("ddpm, slope -0.9") and "crossed at 2" in line for line in told)
    assert "reconstruction" in first.title["en"]
    assert "再構成" in first.title["ja"]
    assert second.function(working.rows) is None
