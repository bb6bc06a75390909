"""Any scheduler of diffusers on a score that is known: what it draws is then its own doing, and no network's."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tameshi.diffusion.levels import alpha_bar_of, sigma_of
from tameshi.diffusion.samplers import Score


def sample_with(
    scheduler: Any, score: Score, steps: int, shape: tuple[int, ...], generator: torch.Generator | None = None
) -> Tensor:
    """Draw samples with a scheduler of diffusers that expects noise predictions (`prediction_type="epsilon"`).

    The level at which the score is asked is read off `scale_model_input`, and is the timestep's for schedulers that leave the
    samples as they are.

    Args:
        scheduler: as made; its timesteps are set here.
        score: (x, ᾱ) -> ∇ log p(x), x of shape `shape`.
        steps: `num_inference_steps`; some schedulers take two calls for each.
        shape: (samples, *sample).
        generator: of the noise.

    Returns:
        `shape`, float64.
    """
    known = np.log(sigma_of(scheduler.alphas_cumprod.double().numpy()))
    scheduler.set_timesteps(steps)
    random = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * float(scheduler.init_noise_sigma)
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        shrunk = float(scaled.norm() / x.norm())  # schedulers that work in σ scale their samples by √ᾱ
        level = (
            shrunk**2 if shrunk < 1 else float(alpha_bar_of(np.exp(np.interp(float(t), np.arange(len(known)), known))))
        )
        noise = -math.sqrt(1 - level) * score(scaled, level)
        x = scheduler.step(noise, t, x, **random).prev_sample
    return x.double()
