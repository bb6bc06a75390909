"""Samplers as chains of kernels: a deterministic map, then Gaussian noise.

Each sampler is written once, and used three ways: `sample` draws with it, `density.propagate` carries a one-dimensional density
through it without any sampling error, and on Gaussians its maps are linear and its variances multiply.

`accelerated` is a RECONSTRUCTION of Li and Cai, "Provable Acceleration for Diffusion Models under Minimal Assumptions",
arXiv:2410.23285. The paper's update equations were not available to us; the sampler has its published ingredients (a momentum-like
second-order correction from the probability-flow ODE, clipping, injected noise) and, measured, its advertised order. What is
proved in the paper is proved of the paper's algorithm.

Symbols: ᾱ_t level, α_t = ᾱ_t/ᾱ_{t-1}, σ = √((1-ᾱ)/ᾱ), u = x/√ᾱ, ε̂ = -√(1-ᾱ) s; the probability-flow ODE is du/dσ = ε̂.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tameshi.diffusion.levels import Floats, alpha_bar_of, sigma_of

# (x, ᾱ) -> ∇ log p(x) at that level; x a NumPy array or a torch tensor, the first axis the samples
Score = Callable[[Any, float], Any]


@dataclass(frozen=True)
class Kernel:
    """x -> mean(x) + noise Z, at the price of some evaluations of the score."""

    mean: Callable[[Any], Any]
    noise: float
    evaluations: int


Sampler = Callable[[Score, Floats], Iterator[Kernel]]


def ddpm(score: Score, levels: Floats) -> Iterator[Kernel]:
    """DDPM with the large variance: ((x + (1 - α) s)/√α, (1 - α)/α)."""
    for alpha_bar, alpha, _ in _transitions(levels):
        yield Kernel(_ddpm_mean(score, alpha_bar, alpha), math.sqrt((1 - alpha) / alpha), 1)


def ddpm_posterior(score: Score, levels: Floats) -> Iterator[Kernel]:
    """DDPM with the posterior's variance (1 - α)(1 - ᾱ_{t-1})/(1 - ᾱ_t)."""
    for alpha_bar, alpha, lower in _transitions(levels):
        yield Kernel(_ddpm_mean(score, alpha_bar, alpha), math.sqrt((1 - alpha) * (1 - lower) / (1 - alpha_bar)), 1)


def accelerated_2024(score: Score, levels: Floats) -> Iterator[Kernel]:
    """The accelerated DDPM of arXiv:2403.03852 (same first author; formula recalled): half the noise before the score, half after."""
    for alpha_bar, alpha, _ in _transitions(levels):
        yield Kernel(lambda x: x, math.sqrt((1 - alpha) / 2), 0)
        yield Kernel(_ddpm_mean(score, alpha_bar, alpha), math.sqrt((1 - alpha) / (2 * alpha)), 1)


def euler_ode(score: Score, levels: Floats) -> Iterator[Kernel]:
    """DDIM: Euler steps of the probability-flow ODE, no noise."""
    sigmas = sigma_of(levels)
    for t in range(len(levels) - 1, 0, -1):
        yield Kernel(_ode_step(score, sigmas, t, sigmas[t - 1], corrected=False, kappa=math.inf), 0.0, 1)


def heun_ode(score: Score, levels: Floats) -> Iterator[Kernel]:
    """Heun steps of the probability-flow ODE, no noise; two evaluations each."""
    sigmas = sigma_of(levels)
    for t in range(len(levels) - 1, 0, -1):
        yield Kernel(_heun_step(score, sigmas, t, sigmas[t - 1]), 0.0, 2)


def euler_ancestral(score: Score, levels: Floats) -> Iterator[Kernel]:
    """The overshoot of `accelerated` without its correction: one evaluation a step, first order."""
    yield from _overshoot(score, levels, kappa=0.0)


def heun_overshoot(score: Score, levels: Floats) -> Iterator[Kernel]:
    """`accelerated` with the slope at the far end in place of the one half way."""
    sigmas = sigma_of(levels)
    for t in range(len(levels) - 1, 1, -1):
        far = _heun_step(score, sigmas, t, sigmas[t - 2])
        yield _noised(far, levels[t - 1], levels[t - 2], 2)
    yield Kernel(_last_step(score, sigmas, math.inf), 0.0, 2)


def accelerated(score: Score, levels: Floats, *, kappa: float = 2.0) -> Iterator[Kernel]:
    """Second-order step of the ODE to one level beyond, then noise back: two evaluations a step.

    From level t to t - 1: e1 = ε̂_t(x); half way u_m = u + (σ_{t-1} - σ_t) e1, e2 = ε̂_{t-1}(u_m); correction Δ = e2 - e1, clipped
    to a length of κ √d; overshoot u⁻ = u + (σ_{t-2} - σ_t)(e1 + Δ) to level t - 2; noise of variance 1 - ᾱ_{t-1}/ᾱ_{t-2}. The
    last step, from level 2 to 1, is a midpoint step without noise.

    Args:
        score: of the levels.
        levels: (T,) descending ᾱ, T >= 2.
        kappa: κ (our choice); inf switches the clip off, 0 the correction. On a geometric grid with κ = inf this is the
            DPM2-ancestral sampler of k-diffusion.
    """
    yield from _overshoot(score, levels, kappa=kappa)


SAMPLERS: dict[str, Sampler] = {
    "accelerated": accelerated,
    "heun-overshoot": heun_overshoot,
    "ddpm": ddpm,
    "ddpm-posterior": ddpm_posterior,
    "accelerated-2024": accelerated_2024,
    "euler-ancestral": euler_ancestral,
    "euler-ode": euler_ode,
    "heun-ode": heun_ode,
}
PER_STEP = {"accelerated": 2, "heun-overshoot": 2, "heun-ode": 2}  # evaluations a step, where it is not 1


def level_count(sampler: str, evaluations: int) -> int:
    """How many levels a number of evaluations pays for."""
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    steps, rest = divmod(evaluations, PER_STEP.get(sampler, 1))
    if rest or steps < 1:
        raise ValueError(f"{sampler} takes a multiple of {PER_STEP.get(sampler, 1)} evaluations, got {evaluations}")
    return steps + 1


def sample(
    score: Score,
    grid: Floats,
    shape: tuple[int, ...],
    generator: torch.Generator | None = None,
    *,
    sampler: str = "accelerated",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw samples of X at the first level.

    Args:
        score: (x, ᾱ) -> ∇ log p(x), x of shape `shape`.
        grid: (T,) descending ᾱ.
        shape: (samples, *sample).
        generator: of the noise.
        sampler: a name of `SAMPLERS`.
        dtype: of the samples.

    Raises:
        ValueError: an unknown sampler, a grid that does not fall within (0, 1), or a score of another shape.
        FloatingPointError: the samples are not finite.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    if len(grid) < 2 or not (grid[-1] > 0 and grid[0] < 1 and (grid[1:] < grid[:-1]).all()):
        raise ValueError("grid must hold at least 2 levels that fall strictly within (0, 1)")
    x = torch.randn(shape, generator=generator, dtype=dtype)
    for kernel in SAMPLERS[sampler](_checked(score), grid):
        x = kernel.mean(x)
        if kernel.noise:
            x = x + kernel.noise * torch.randn(shape, generator=generator, dtype=dtype)
    if not bool(torch.isfinite(x).all()):
        raise FloatingPointError("the samples are not finite; is the score finite at every level of the grid?")
    return x


def _checked(score: Score) -> Score:
    def looked_at(x: Tensor, alpha_bar: float) -> Tensor:
        found: Tensor = score(x, alpha_bar)
        if found.shape != x.shape:
            raise ValueError(f"the score of samples {tuple(x.shape)} must have their shape, got {tuple(found.shape)}")
        return found

    return looked_at


def clipped(delta: Any, kappa: float) -> Any:
    """Each sample's correction, shortened to a length of κ √d where it is longer; d is the sample's size."""
    if math.isinf(kappa):
        return delta
    if kappa == 0:
        return 0 * delta
    flat = delta.reshape(len(delta), -1)
    length = (flat**2).sum(1) ** 0.5 / (kappa * math.sqrt(flat.shape[1]))
    return delta / length.clip(min=1.0).reshape(-1, *[1] * (delta.ndim - 1))


def _transitions(levels: Floats) -> Iterator[tuple[float, float, float]]:
    """(ᾱ_t, α_t, ᾱ_{t-1}) for t = T ... 2."""
    for t in range(len(levels) - 1, 0, -1):
        yield float(levels[t]), float(levels[t] / levels[t - 1]), float(levels[t - 1])


def _ddpm_mean(score: Score, alpha_bar: float, alpha: float) -> Callable[[Any], Any]:
    return lambda x: (x + (1 - alpha) * score(x, alpha_bar)) / math.sqrt(alpha)


def _noise_of(score: Score, u: Any, sigma: float) -> Any:
    """ε̂ at x = √ᾱ u"""
    alpha_bar = float(alpha_bar_of(sigma))
    return -math.sqrt(1 - alpha_bar) * score(math.sqrt(alpha_bar) * u, alpha_bar)


def _ode_step(
    score: Score, sigmas: Floats, t: int, target: float, *, corrected: bool, kappa: float
) -> Callable[[Any], Any]:
    """x at level index t -> x at σ = target; the slope corrected half way (at index t - 1), or not."""
    here, half, there = float(sigmas[t]), float(sigmas[t - 1]), float(target)

    def step(x: Any) -> Any:
        u = x / math.sqrt(float(alpha_bar_of(here)))
        slope = _noise_of(score, u, here)
        if corrected:
            halfway = _noise_of(score, u + (half - here) * slope, half)
            slope = slope + clipped(halfway - slope, kappa)
        return math.sqrt(float(alpha_bar_of(there))) * (u + (there - here) * slope)

    return step


def _heun_step(score: Score, sigmas: Floats, t: int, target: float) -> Callable[[Any], Any]:
    here, there = float(sigmas[t]), float(target)

    def step(x: Any) -> Any:
        u = x / math.sqrt(float(alpha_bar_of(here)))
        slope = _noise_of(score, u, here)
        slope = (slope + _noise_of(score, u + (there - here) * slope, there)) / 2
        return math.sqrt(float(alpha_bar_of(there))) * (u + (there - here) * slope)

    return step


def _last_step(score: Score, sigmas: Floats, kappa: float) -> Callable[[Any], Any]:
    """Midpoint step from index 1 to index 0; the midpoint is half way in σ."""
    ends = [sigmas[0], (sigmas[0] + sigmas[1]) / 2, sigmas[1]]
    return _ode_step(score, ends, 2, ends[0], corrected=True, kappa=kappa)  # type: ignore[arg-type]  # only indexed


def _noised(overshoot: Callable[[Any], Any], level: float, beyond: float, evaluations: int) -> Kernel:
    ratio = float(level / beyond)  # x at level `beyond` scaled to `level`, and the noise that it then lacks
    return Kernel(lambda x: math.sqrt(ratio) * overshoot(x), math.sqrt(1 - ratio), evaluations)


def _overshoot(score: Score, levels: Floats, *, kappa: float) -> Iterator[Kernel]:
    sigmas = sigma_of(levels)
    corrected = kappa > 0
    evaluations = 2 if corrected else 1
    for t in range(len(levels) - 1, 1, -1):
        step = _ode_step(score, sigmas, t, sigmas[t - 2], corrected=corrected, kappa=kappa)
        yield _noised(step, levels[t - 1], levels[t - 2], evaluations)
    if corrected:
        yield Kernel(_last_step(score, sigmas, kappa), 0.0, 2)
    else:
        yield Kernel(_ode_step(score, sigmas, 1, sigmas[0], corrected=False, kappa=0.0), 0.0, 1)
