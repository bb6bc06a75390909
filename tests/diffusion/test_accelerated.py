import math

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
)

from tameshi.diffusion import AcceleratedStochasticScheduler, GaussianMixtureScore
from tameshi.diffusion.levels import sigma_of
from tameshi.diffusion.samplers import _ode_step, accelerated

torch.set_num_threads(1)
MIXTURE = GaussianMixtureScore([0.5, 0.3, 0.2], [-1.2, 0.4, 1.6], [0.25, 0.15, 0.35]).standardised()


def network(scheduler, x, t):
    """The exact noise prediction of the mixture at a training step."""
    level = float(scheduler._alpha_bar(np.array([float(t)]))[0])
    return -math.sqrt(1 - level) * MIXTURE(x, level)


def run(scheduler, x, timesteps=None, generator=None, model=network):
    for t in scheduler.timesteps if timesteps is None else timesteps:
        x = scheduler.step(model(scheduler, x, t), t, x, generator=generator).prev_sample
    return x


def drawn(batch=3, dtype=torch.float64):
    return torch.randn(batch, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize(
    "settings", [{}, {"grid": "trailing"}, {"grid": "li"}, {"clip_kappa": math.inf}, {"clip_kappa": 0.3}]
)
def test_the_scheduler_takes_the_steps_of_the_plain_sampler(settings):
    steps = 80 if settings.get("grid") == "li" else 12
    scheduler = AcceleratedStochasticScheduler(**settings, final_denoise=False)
    scheduler.set_timesteps(steps)
    levels = scheduler.alphas_cumprod[torch.cat([scheduler.timesteps[0::2], scheduler.timesteps[-1:] * 0])].numpy()
    levels[-1] = scheduler._last
    ours = run(scheduler, drawn(), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    theirs = drawn()
    kernels = list(accelerated(MIXTURE, levels[::-1], kappa=settings.get("clip_kappa", 2.0)))
    for kernel in kernels[:-1]:
        theirs = kernel.mean(theirs) + kernel.noise * torch.randn(theirs.shape, generator=generator, dtype=theirs.dtype)
    middle = float(scheduler.alphas_cumprod[scheduler.timesteps[-1]])  # the last midpoint, rounded to a training step
    ends = [scheduler._last, middle, levels[-2]]
    sigmas = sigma_of(np.array(ends))
    theirs = _ode_step(MIXTURE, sigmas, 2, sigmas[0], corrected=True, kappa=settings.get("clip_kappa", 2.0))(theirs)
    assert ours == pytest.approx(theirs.numpy(), abs=1e-10)


def test_n_steps_are_2n_minus_1_calls_and_timesteps_stand_in_pairs():
    scheduler = AcceleratedStochasticScheduler()
    scheduler.set_timesteps(10)
    times = scheduler.timesteps.tolist()
    assert len(times) == 19
    assert times[1:-3:2] == times[2:-2:2]  # the point half way is where the next step begins
    assert times[0] == 999
    assert times[-1] == 0
    assert sorted(times, reverse=True) == times
    assert len(scheduler) == 1000
    assert scheduler.init_noise_sigma == 1.0


def test_levels_are_geometric_up_to_rounding():
    scheduler = AcceleratedStochasticScheduler(allow_float_t=True)
    scheduler.set_timesteps(20)
    sigmas = sigma_of(scheduler._alpha_bar(scheduler.timesteps[:-1:2].double().numpy()))
    assert sigmas[1:] / sigmas[:-1] == pytest.approx(np.full(18, sigmas[1] / sigmas[0]), rel=2e-3)


def test_rounded_levels_that_coincide_are_visited_once():
    scheduler = AcceleratedStochasticScheduler(num_train_timesteps=20)
    scheduler.set_timesteps(40)
    firsts = scheduler.timesteps[::2].tolist()
    assert len(set(firsts)) == len(firsts) <= 20


def test_it_samples_the_mixture_well():
    scheduler = AcceleratedStochasticScheduler()
    scheduler.set_timesteps(60)
    generator = torch.Generator().manual_seed(0)
    found = run(scheduler, torch.randn(8000, 1, generator=generator), generator=generator)
    exact = np.sort(MIXTURE.draw(8000, seed=1))
    assert np.abs(np.sort(found.numpy().ravel()) - exact).mean() < 0.05


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_prediction_types_are_converted(kind):
    def predicted(scheduler, x, t):
        noise = network(scheduler, x, t)
        level = float(scheduler.alphas_cumprod[t])
        clean = (x - math.sqrt(1 - level) * noise) / math.sqrt(level)
        return clean if kind == "sample" else math.sqrt(level) * noise - math.sqrt(1 - level) * clean

    results = []
    for prediction_type, model in (("epsilon", network), (kind, predicted)):
        scheduler = AcceleratedStochasticScheduler(prediction_type=prediction_type)
        scheduler.set_timesteps(8)
        results.append(run(scheduler, drawn(), generator=torch.Generator().manual_seed(2), model=model))
    assert results[0] == pytest.approx(results[1].numpy(), abs=1e-9)


def test_a_seed_gives_the_same_sample_alone_and_in_a_batch_of_four():
    starts = [torch.randn(1, 4, generator=torch.Generator().manual_seed(k)) for k in range(4)]
    scheduler = AcceleratedStochasticScheduler()
    scheduler.set_timesteps(9)
    batch = run(scheduler, torch.cat(starts), generator=[torch.Generator().manual_seed(100 + k) for k in range(4)])
    for k, start in enumerate(starts):
        scheduler.set_timesteps(9)
        assert run(scheduler, start, generator=torch.Generator().manual_seed(100 + k)) == pytest.approx(
            batch[k : k + 1].numpy()
        )


def test_a_batch_may_be_permuted():
    scheduler = AcceleratedStochasticScheduler()
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        scheduler.set_timesteps(9)
        generators = [torch.Generator().manual_seed(100 + k) for k in order]
        found.append(run(scheduler, drawn()[order], generator=generators))
    assert found[0][[2, 0, 1]] == pytest.approx(found[1].numpy(), abs=1e-12)


def test_half_precision_is_computed_in_single_and_given_back():
    scheduler = AcceleratedStochasticScheduler()
    results = {}
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        scheduler.set_timesteps(6)
        x = drawn(dtype=torch.float32).to(dtype)
        x = scheduler.step(torch.ones_like(x) * 0.3, scheduler.timesteps[0], x).prev_sample
        x = scheduler.step(
            torch.ones_like(x) * 0.2, scheduler.timesteps[1], x, torch.Generator().manual_seed(0)
        ).prev_sample
        assert x.dtype == dtype
        results[dtype] = x.float()
    assert results[torch.float16] == pytest.approx(results[torch.float32].numpy(), rel=2e-3, abs=1e-2)


@pytest.mark.parametrize("kappa", [1.5, math.inf])
def test_it_is_saved_and_loaded_as_diffusers_does(tmp_path, kappa):
    made = AcceleratedStochasticScheduler(clip_kappa=kappa, grid="trailing", beta_schedule="scaled_linear")
    made.save_pretrained(tmp_path)
    read = AcceleratedStochasticScheduler.from_pretrained(tmp_path)
    assert dict(read.config) | {"_use_default_values": 0} == dict(made.config) | {"_use_default_values": 0}
    made.set_timesteps(7)
    read.set_timesteps(7)
    assert (made.timesteps == read.timesteps).all()


@pytest.mark.parametrize("kind", [DDPMScheduler, DDIMScheduler, PNDMScheduler])
def test_it_takes_the_place_of_another_scheduler_and_back(kind):
    theirs = kind(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction")
    ours = AcceleratedStochasticScheduler.from_config(theirs.config)
    assert ours.alphas_cumprod.numpy() == pytest.approx(theirs.alphas_cumprod.double().numpy(), rel=1e-4)
    assert ours.config.prediction_type == "v_prediction"
    back = kind.from_config(ours.config)
    assert (back.alphas_cumprod == theirs.alphas_cumprod).all()


def test_it_runs_in_a_diffusers_pipeline():
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
    pipeline = DDPMPipeline(unet, DDPMScheduler())
    pipeline.scheduler = AcceleratedStochasticScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    calls = []
    unet.register_forward_hook(lambda *_: calls.append(1))
    images = [
        pipeline(
            batch_size=2, num_inference_steps=20, generator=torch.Generator().manual_seed(3), output_type="np"
        ).images
        for _ in range(2)
    ]
    assert len(calls) == 2 * 39
    assert (images[0] == images[1]).all()
    assert np.isfinite(images[0]).all()


def test_noise_and_velocity_are_those_of_diffusers():
    ours, theirs = AcceleratedStochasticScheduler(), DDPMScheduler()
    x, noise, t = drawn(dtype=torch.float32), drawn(dtype=torch.float32).flip(0), torch.tensor([0, 400, 999])
    assert ours.add_noise(x, noise, t) == pytest.approx(theirs.add_noise(x, noise, t).numpy(), abs=1e-5)
    assert ours.get_velocity(x, noise, t) == pytest.approx(theirs.get_velocity(x, noise, t).numpy(), abs=1e-5)


def test_noise_between_training_steps_is_added_at_the_level_between():
    scheduler = AcceleratedStochasticScheduler(allow_float_t=True)
    x, noise = drawn(1), drawn(1).flip(1)
    low, mid, high = (scheduler.add_noise(x, noise, torch.tensor([t])) for t in (400.0, 400.5, 401.0))
    assert not torch.equal(low, mid)
    assert mid == pytest.approx((low + high).numpy() / 2, abs=1e-4)
    assert (low == scheduler.add_noise(x, noise, torch.tensor([400]))).all()


def test_a_run_may_begin_at_any_even_position_as_image_to_image_does():
    scheduler = AcceleratedStochasticScheduler(clip_kappa=math.inf)
    scheduler.set_timesteps(10)
    sliced = scheduler.timesteps[6:]
    scheduler.set_begin_index(6)
    told = run(scheduler, drawn(), sliced, torch.Generator().manual_seed(1))
    scheduler.set_timesteps(10)
    found = run(scheduler, drawn(), sliced, torch.Generator().manual_seed(1))  # by timestep, which stands twice
    assert (told == found).all()
    assert scheduler.begin_index is None


def test_a_slice_that_begins_half_way_through_a_step_is_put_right():
    scheduler = AcceleratedStochasticScheduler()
    scheduler.set_timesteps(10)
    even, odd = scheduler.timesteps[6:], scheduler.timesteps[5:]
    assert even[0] == odd[0]
    scheduler.set_begin_index(6)
    wanted = run(scheduler, drawn(), even, torch.Generator().manual_seed(1))
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(5)
    assert (run(scheduler, drawn(), odd, torch.Generator().manual_seed(1)) == wanted).all()
    assert scheduler.state_in_first_order


def test_setting_timesteps_again_forgets_a_half_taken_step():
    scheduler = AcceleratedStochasticScheduler()
    scheduler.set_timesteps(5)
    scheduler.step(drawn(), scheduler.timesteps[0], drawn())
    assert not scheduler.state_in_first_order
    scheduler.set_timesteps(5)
    assert scheduler.state_in_first_order
    assert scheduler.step_index is None


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("steps", [2, 3, 5, 50])
def test_few_steps_are_finite_for_every_schedule(schedule, steps):
    scheduler = AcceleratedStochasticScheduler(beta_schedule=schedule)
    scheduler.set_timesteps(steps)
    found = run(scheduler, drawn(dtype=torch.float32), generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(found).all()


def test_models_without_signal_at_the_end_begin_a_little_later_with_a_warning():
    scheduler = AcceleratedStochasticScheduler(rescale_betas_zero_snr=True)
    with pytest.warns(UserWarning, match="zero terminal SNR"):
        scheduler.set_timesteps(5)
    assert float(scheduler.alphas_cumprod[scheduler.timesteps[0]]) >= 1e-6
    assert torch.isfinite(run(scheduler, drawn())).all()


def test_sigmas_and_offsets_are_followed():
    scheduler = AcceleratedStochasticScheduler(steps_offset=1)
    scheduler.set_timesteps(6)
    assert scheduler.timesteps[-1] == 1
    scheduler.set_timesteps(sigmas=[14.6, 3.0, 0.5, 0.0])
    firsts = scheduler.timesteps[:-1:2]
    assert sigma_of(scheduler.alphas_cumprod[firsts].numpy()) == pytest.approx([14.6, 3.0], rel=0.01)


def test_the_result_may_be_a_tuple():
    scheduler = AcceleratedStochasticScheduler()
    scheduler.set_timesteps(5)
    (found,) = scheduler.step(drawn(), scheduler.timesteps[0], drawn(), return_dict=False)
    assert found.shape == (3, 4)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda s: s.set_timesteps(1), "num_inference_steps must be at least 2, got 1"),
        (lambda s: s.set_timesteps(sigmas=[1.0, 2.0]), "positive numbers that fall"),
        (lambda s: s.set_timesteps(sigmas=[1.0, 0.99999999]), "the same training step"),
        (lambda s: s.step(drawn(), 0, drawn()), "call set_timesteps before step"),
        (lambda s: (s.set_timesteps(5), s.step(drawn(), 7, drawn())), "timestep 7 is not one of"),
        (lambda s: AcceleratedStochasticScheduler(prediction_type="flow"), "flow-matching models have schedulers"),
        (lambda s: AcceleratedStochasticScheduler(grid="karras"), "grid must be"),
        (lambda s: AcceleratedStochasticScheduler(clip_kappa=-1), "clip_kappa must be"),
        (lambda s: AcceleratedStochasticScheduler(beta_schedule="x"), "beta_schedule must be"),
        (lambda s: AcceleratedStochasticScheduler(trained_betas=[0.1]), "trained_betas must be"),
        (
            lambda s: AcceleratedStochasticScheduler.from_config(FlowMatchEulerDiscreteScheduler().config),
            "is of a flow-matching model",
        ),
        (
            lambda s: AcceleratedStochasticScheduler.from_config({"_class_name": "EDMEulerScheduler"}),
            "is of a EDM model",
        ),
    ],
)
def test_what_cannot_be_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act(AcceleratedStochasticScheduler())
