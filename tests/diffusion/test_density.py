import math

import numpy as np
import pytest
from scipy import stats

from tameshi.checks.accelerated_diffusion import world
from tameshi.diffusion import (
    GaussianMixtureScore,
    gaussian_score,
    geometric_levels,
    propagate,
    sampler_error,
    total_variation,
)
from tameshi.diffusion.density import grid_for, whole
from tameshi.diffusion.samplers import SAMPLERS, Kernel, level_count

MIXTURE = GaussianMixtureScore([0.5, 0.3, 0.2], [-1.2, 0.4, 1.6], [0.25, 0.15, 0.35]).standardised()
# total variation at 16, 32, 64 evaluations, worked out by quadrature with an implementation of its own
TABLE = {
    "ddpm": (0.148, 0.0768, 0.0390),
    "ddpm-posterior": (0.112, 0.0565, 0.0283),
    "accelerated-2024": (0.0685, 0.0289, 0.0134),
    "euler-ode": (0.0841, 0.0420, 0.0211),
    "accelerated": (0.269, 0.0477, 0.0099),
    "heun-overshoot": (0.358, 0.063, 0.0141),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_errors(name):
    found = [sampler_error(MIXTURE, name, n) for n in (16, 32, 64)]
    assert found == pytest.approx(TABLE[name], rel=0.015)


def test_the_accelerated_sampler_is_of_second_order_and_ddpm_of_first():
    slopes = {}
    for name in ("accelerated", "ddpm"):
        errors = [sampler_error(MIXTURE, name, n) for n in (32, 64, 128)]
        slopes[name] = np.polyfit(np.log([32, 64, 128]), np.log(errors), 1)[0]
    assert slopes["accelerated"] <= -1.7
    assert -1.2 <= slopes["ddpm"] <= -0.8


@pytest.mark.parametrize("name", SAMPLERS)
def test_mass_is_kept(name):
    grid = grid_for(33)
    density = propagate(SAMPLERS[name](MIXTURE, geometric_levels(level_count(name, 32))), grid)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    assert (density >= 0).all()


def test_a_linear_chain_gives_the_normal_law_that_it_must():
    grid = np.linspace(-8, 8, 1201)
    kernels = [Kernel(lambda x: 0.5 * x + 0.3, 0.4, 0), Kernel(lambda x: 1.5 * x, 0.0, 0), Kernel(lambda x: x, 0.2, 0)]
    variance = 1.5**2 * (0.25 + 0.16) + 0.04
    wanted = stats.norm.pdf(grid, 0.45, math.sqrt(variance))
    assert propagate(kernels, grid) == pytest.approx(wanted, abs=1e-9)


def test_maps_alone_give_the_change_of_variables():
    grid = np.linspace(-5, 5, 601)
    found = propagate([Kernel(lambda x: x + 0.1 * x**3, 0.0, 0)], grid)
    y = np.linspace(-1.5, 1.5, 1001)
    wanted = stats.norm.pdf(y) / (1 + 0.3 * y**2)
    assert np.interp(y + 0.1 * y**3, grid, found) == pytest.approx(wanted, abs=2e-4)
    noisy_first = propagate([Kernel(lambda x: x, 0.1, 0), Kernel(lambda x: 2 * x, 0.0, 0)], grid)
    assert noisy_first == pytest.approx(stats.norm.pdf(grid, 0, 2 * math.sqrt(1.01)), abs=1e-4)


def test_a_map_that_folds_keeps_its_mass():
    grid = np.linspace(-5, 5, 601)
    found = propagate([Kernel(np.abs, 0.0, 0)], grid)
    assert found.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    assert found[grid > 0.05] == pytest.approx(2 * stats.norm.pdf(grid[grid > 0.05]), abs=2e-3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_few_evaluations_lose_no_mass_either(name):
    """Heun's first steps are so steep in this world that a density read off slopes had a mass of 4.4; DDPM's leave [-5, 5]."""
    levels = geometric_levels(level_count(name, 8))
    grid, density = whole(list(SAMPLERS[name](world(4), levels)), grid_for(len(levels)))
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    assert 0.1 < total_variation(density, world(4).density(grid, levels[0]), grid) <= 1


def test_a_law_wider_than_any_grid_is_not_guessed():
    with pytest.raises(ArithmeticError, match="does not fit between -160 and 160"):
        whole([Kernel(lambda x: x + 1e6, 0.0, 0)], grid_for(9))


def test_a_finer_grid_changes_nothing():
    levels = geometric_levels(33)
    coarse, fine = grid_for(33), np.linspace(-5, 5, 1201)
    kernels = [propagate(SAMPLERS["accelerated"](MIXTURE, levels), grid) for grid in (coarse, fine)]
    assert kernels[1][::2] == pytest.approx(kernels[0], abs=2e-4)


def test_stopping_early_has_an_error_of_its_own():
    grid = grid_for(9)
    assert total_variation(MIXTURE.density(grid, 0.999), MIXTURE.density(grid), grid) == pytest.approx(0.0070, abs=5e-5)


def test_a_wrong_score_leaves_an_error_that_more_evaluations_do_not_mend():
    def wrong(x, alpha_bar):
        return MIXTURE(x, alpha_bar) + 0.05 * np.cos(3 * x)

    found = [sampler_error(wrong, "accelerated", n, target=MIXTURE) for n in (64, 128)]
    right = sampler_error(MIXTURE, "accelerated", 128)
    assert found[1] > 4 * right
    assert found[1] == pytest.approx(found[0], rel=0.5)


def test_a_normal_target_is_a_mixture_of_one():
    assert sampler_error(GaussianMixtureScore([1.0], [0.0], [0.5]), "ddpm", 16) == pytest.approx(0.132, abs=1e-3)


def test_a_score_whose_law_is_not_known_needs_a_target():
    with pytest.raises(TypeError, match="needs target="):
        sampler_error(gaussian_score(0.25), "ddpm", 16)


def test_the_grid_is_as_fine_as_the_finest_noise():
    assert [len(grid_for(65)), len(grid_for(66))] == [601, 1601]
    assert np.diff(grid_for(65, smallest=0.003)).max() <= 0.003
    # on the grid of 1,601 points, 1.9 times as wide as the finest noise, this error would be 0.041
    assert sampler_error(MIXTURE, "accelerated-2024", 512) == pytest.approx(0.00159, rel=5e-3)
