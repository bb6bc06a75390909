"""Diffusion: sampling a trained model with fewer network calls, and exact laws to measure samplers by."""

from __future__ import annotations

try:
    import diffusers  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("the diffusion wing needs diffusers and torch: pip install 'tameshi[diffusion]'") from error

from tameshi.diffusion.accelerated import AcceleratedStochasticScheduler
from tameshi.diffusion.density import propagate, sampler_error, total_variation
from tameshi.diffusion.levels import geometric_levels, li_levels
from tameshi.diffusion.mixture import GaussianMixtureScore, gaussian_score
from tameshi.diffusion.samplers import SAMPLERS, sample
from tameshi.diffusion.schedulers import sample_with
from tameshi.diffusion.sliced import sliced_wasserstein

__all__ = [
    "SAMPLERS",
    "AcceleratedStochasticScheduler",
    "GaussianMixtureScore",
    "gaussian_score",
    "geometric_levels",
    "li_levels",
    "propagate",
    "sample",
    "sample_with",
    "sampler_error",
    "sliced_wasserstein",
    "total_variation",
]
