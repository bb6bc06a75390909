import functools
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.diffusion import GaussianMixtureScore, gaussian_score, geometric_levels, li_levels, sample
from tameshi.diffusion.curves import slope
from tameshi.diffusion.density import gaussian_divergence, gaussian_total_variation, gaussian_variances
from tameshi.diffusion.levels import alpha_bar_of, sigma_of
from tameshi.diffusion.samplers import SAMPLERS, accelerated, clipped, euler_ancestral, level_count

torch.set_num_threads(1)
THREE = np.array([0.999, 0.240170899, 0.0001])
unclipped = functools.partial(accelerated, kappa=math.inf)


@pytest.mark.parametrize(
    ("sampler", "variance"),
    [
        (SAMPLERS["ddpm"], 57.145945),
        (SAMPLERS["ddpm-posterior"], 0.0180873737),
        (SAMPLERS["accelerated-2024"], 28.5815193),
        (unclipped, 2.0865543350),
    ],
)
def test_variances_of_a_gaussian_after_three_levels(sampler, variance):
    assert gaussian_variances(sampler, np.array([0.25]), THREE)[0] == pytest.approx(variance, rel=2e-8)


def test_the_ddpm_step_multiplies_the_variance_as_on_paper():
    levels, target = np.array([0.9, 0.5]), 0.25
    alpha, v = 0.5 / 0.9, 0.5 * target + 0.5
    by_hand = ((1 - (1 - alpha) / v) / math.sqrt(alpha)) ** 2 + (1 - alpha) / alpha
    assert gaussian_variances(SAMPLERS["ddpm"], np.array([target]), levels)[0] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(
    ("sampler", "errors"),
    [
        ("ddpm", {16: 0.132, 32: 0.0636, 64: 0.0312}),
        (unclipped, {16: 0.149, 32: 0.0352, 64: 0.00826, 128: 0.00199}),
    ],
    ids=["ddpm", "accelerated"],
)
def test_errors_on_a_gaussian(sampler, errors):
    chain = SAMPLERS[sampler] if isinstance(sampler, str) else sampler
    for evaluations, expected in errors.items():
        levels = geometric_levels(level_count("ddpm" if sampler == "ddpm" else "accelerated", evaluations))
        found = float(gaussian_variances(chain, np.array([0.25]), levels)[0])
        assert gaussian_total_variation(found, 0.25 * levels[0] + 1 - levels[0]) == pytest.approx(expected, rel=5e-3)


def test_total_variation_of_two_gaussians_equals_the_integral():
    grid = np.linspace(-12, 12, 200_001)

    def density(v):
        return np.exp(-(grid**2) / 2 / v) / np.sqrt(2 * np.pi * v)

    integral = np.abs(density(0.7) - density(2.1)).sum() * (grid[1] - grid[0]) / 2
    assert gaussian_total_variation(0.7, 2.1) == pytest.approx(integral, abs=1e-8)
    assert gaussian_total_variation(2.1, 0.7) == pytest.approx(integral, abs=1e-8)
    assert gaussian_total_variation(1.0, 1.0) == 0


def test_product_targets_grow_like_the_root_of_the_dimension_for_every_method():
    levels = geometric_levels(65)
    for sampler in (unclipped, SAMPLERS["ddpm"]):
        errors = []
        for d in (1, 4, 16):
            found = gaussian_variances(sampler, np.full(d, 0.3), levels)
            errors.append(gaussian_divergence(found, np.full(d, 0.3 * levels[0] + 1 - levels[0])))
        assert errors[1] / errors[0] == pytest.approx(2, rel=1e-9)
        assert errors[2] / errors[0] == pytest.approx(4, rel=1e-9)


@pytest.mark.parametrize(
    ("sampler", "divergences"),
    [
        (SAMPLERS["ddpm"], {1: 0.0223, 4: 0.0448, 16: 0.0894, 64: 0.1788, 256: 0.358}),
        (unclipped, {1: 0.0029, 4: 0.0058, 16: 0.0116, 64: 0.0232, 256: 0.0464}),
    ],
    ids=["ddpm", "accelerated"],
)
def test_divergences_of_gaussians_in_many_dimensions(sampler, divergences):
    levels = geometric_levels(level_count("ddpm" if sampler is SAMPLERS["ddpm"] else "accelerated", 128))
    for d, expected in divergences.items():
        variances = np.geomspace(0.05, 4, d) if d > 1 else np.array([math.sqrt(0.2)])
        found = gaussian_divergence(
            gaussian_variances(sampler, variances, levels), variances * levels[0] + 1 - levels[0]
        )
        assert found == pytest.approx(expected, abs=5e-4 if expected > 0.1 else 5e-5)


def test_on_gaussians_the_sampler_of_2024_looks_second_order():
    """The trap: on mixtures its slope is -1."""
    errors = []
    for evaluations in (32, 64, 128):
        levels = geometric_levels(level_count("accelerated-2024", evaluations))
        found = gaussian_variances(SAMPLERS["accelerated-2024"], np.array([0.04]), levels)[0]
        errors.append(gaussian_total_variation(float(found), 0.04 * levels[0] + 1 - levels[0]))
    assert errors[-1] == pytest.approx(0.00065, abs=1e-5)
    assert slope((32, 64, 128), errors) == pytest.approx(-2, abs=0.02)


def test_on_a_geometric_grid_it_is_dpm2_ancestral_of_k_diffusion():
    """Katherine Crowson's `sample_dpm_2_ancestral`, eta 1, written out in σ coordinates."""
    mixture = GaussianMixtureScore([0.5, 0.5], [-1.0, 1.0], [0.3, 0.4])
    levels = geometric_levels(9)
    sigmas = sigma_of(levels)[::-1]
    rng = np.random.default_rng(0)
    u = rng.normal(size=20) / math.sqrt(levels[-1])
    noises = rng.normal(size=(9, 20))

    def denoised(u, sigma):
        level = float(alpha_bar_of(sigma))
        return u + sigma * math.sqrt(1 - level) * mixture(math.sqrt(level) * u, level)

    ours = math.sqrt(levels[-1]) * u
    kernels = list(unclipped(mixture, levels))[:-1]  # the last step is another one
    for i, kernel in enumerate(kernels):
        ours = kernel.mean(ours) + kernel.noise * noises[i]
        here, there = sigmas[i], sigmas[i + 1]
        up = min(there, math.sqrt(there**2 * (here**2 - there**2) / here**2))
        down = math.sqrt(there**2 - up**2)
        slope = (u - denoised(u, here)) / here
        middle = math.exp((math.log(here) + math.log(down)) / 2)
        halfway = u + slope * (middle - here)
        u = u + (halfway - denoised(halfway, middle)) / middle * (down - here) + noises[i] * up
        assert ours == pytest.approx(u * math.sqrt(levels[::-1][i + 1]), abs=1e-12)


def test_on_the_normal_target_the_law_stays_normal_to_second_order():
    """The score is -x at every level; what is left of the error falls fourfold when the steps are halved."""
    errors = [gaussian_variances(unclipped, np.array([1.0]), geometric_levels(n))[0] - 1 for n in (65, 129, 257, 513)]
    assert abs(errors[-1]) < 1e-3
    for coarse, fine in pairwise(errors[1:]):
        assert coarse / fine == pytest.approx(4, rel=0.1)


def test_without_correction_it_is_the_ancestral_euler_sampler_but_for_the_last_step():
    mixture = GaussianMixtureScore([1.0], [0.2], [0.5])
    levels, x = geometric_levels(6), np.linspace(-2, 2, 7)
    for ours, theirs in zip(accelerated(mixture, levels, kappa=0.0), euler_ancestral(mixture, levels), strict=True):
        assert (ours.mean(x) == theirs.mean(x)).all()
        assert ours.noise == theirs.noise


def test_two_levels_are_one_step_without_noise():
    (kernel,) = accelerated(gaussian_score(1.0), np.array([0.99, 0.2]))
    assert kernel.noise == 0
    assert kernel.evaluations == 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_evaluations_are_what_is_counted(name):
    calls = []

    def score(x, alpha_bar):
        calls.append(alpha_bar)
        return -x

    x = np.zeros(3)
    kernels = list(SAMPLERS[name](score, geometric_levels(level_count(name, 16))))
    for kernel in kernels:
        x = kernel.mean(x)
    assert len(calls) == 16 == sum(k.evaluations for k in kernels)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_from_a_mixture(name):
    mixture = GaussianMixtureScore([0.5, 0.3, 0.2], [-1.2, 0.4, 1.6], [0.25, 0.15, 0.35]).standardised()
    generator = torch.Generator().manual_seed(0)
    drawn = sample(mixture, geometric_levels(101), (4000, 1), generator, sampler=name)
    assert drawn.mean().item() == pytest.approx(0, abs=0.06)
    assert drawn.var().item() == pytest.approx(1, abs=0.08)


def test_the_same_generator_gives_the_same_samples():
    mixture = GaussianMixtureScore([1.0], [0.0], [0.5])
    one, two = (sample(mixture, geometric_levels(8), (5, 2), torch.Generator().manual_seed(3)) for _ in range(2))
    assert (one == two).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), kappa=st.floats(0.1, 10))
def test_clipping_bounds_every_sample_and_leaves_short_ones_alone(seed, kappa):
    delta = np.random.default_rng(seed).normal(size=(6, 3, 2)) * np.geomspace(0.01, 30, 6)[:, None, None]
    found = clipped(delta, kappa)
    length = np.linalg.norm(delta.reshape(6, -1), axis=1)
    bound = kappa * math.sqrt(6)
    assert np.linalg.norm(found.reshape(6, -1), axis=1) == pytest.approx(np.minimum(length, bound))
    assert (found[length <= bound] == delta[length <= bound]).all()
    assert clipped(torch.from_numpy(delta), kappa).numpy() == pytest.approx(found, abs=1e-12)


def test_levels_by_hand():
    geometric = sigma_of(geometric_levels(5))
    assert geometric[1:] / geometric[:-1] == pytest.approx(np.full(4, geometric[1] / geometric[0]))
    assert 1 - geometric_levels(5)[[0, -1]] == pytest.approx([1e-3, 1 - 1e-4])
    li = li_levels(64)
    assert 1 - li[0] == pytest.approx(64**-2)
    assert (np.diff(li) < 0).all()
    betas = 1 - li[1:] / li[:-1]
    assert betas.max() == pytest.approx(4 * math.log(64) / 64)


def test_mixture_scores_are_derivatives_of_the_log_density():
    mixture = GaussianMixtureScore([0.5, 0.3, 0.2], [-1.2, 0.4, 1.6], [0.25, 0.15, 0.35]).standardised()
    x = np.linspace(-3, 3, 41)
    for level in (0.999, 0.5, 0.01):
        slope = (np.log(mixture.density(x + 1e-5, level)) - np.log(mixture.density(x - 1e-5, level))) / 2e-5
        assert mixture(x, level) == pytest.approx(slope, abs=1e-6)
        assert mixture(torch.from_numpy(x), level).numpy() == pytest.approx(mixture(x, level), abs=1e-12)
    assert mixture.draw(20_000, seed=0).var() == pytest.approx(1, abs=0.03)
    assert mixture.weights @ mixture.means == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: geometric_levels(1), "at least 2 levels"),
        (lambda: geometric_levels(5, noise=(0.5, 0.2)), "must rise within"),
        (lambda: li_levels(1), "at least 2 levels"),
        (lambda: li_levels(4), "larger count than 4"),
        (lambda: level_count("heun-ode", 9), "multiple of 2 evaluations, got 9"),
        (lambda: level_count("ode", 9), "sampler must be one of"),
        (lambda: GaussianMixtureScore([1.0], [0.0], [0.0]), "positive standard deviations"),
        (lambda: GaussianMixtureScore([1.0, 2.0], [0.0], [1.0]), "as many"),
        (lambda: sample(gaussian_score(1.0), np.array([0.1, 0.9]), (2,)), "fall strictly"),
        (lambda: sample(gaussian_score(1.0), np.array([0.9, 0.1]), (2,), sampler="x"), "sampler must be one of"),
        (lambda: sample(lambda x, a: x[:1], np.array([0.9, 0.1]), (2,)), "must have their shape"),
    ],
)
def test_what_cannot_be_sampled_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_samples_that_are_not_finite_are_never_handed_out():
    with pytest.raises(FloatingPointError, match="not finite"):
        sample(lambda x, a: x * float("nan"), np.array([0.9, 0.1]), (2,))
