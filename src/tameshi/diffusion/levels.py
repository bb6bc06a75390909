"""Noise levels of a sampler. A level is ᾱ: at it, X = √ᾱ X0 + √(1 - ᾱ) Z (variance-preserving diffusion).

Levels are listed from the data's side: ᾱ_1 > ᾱ_2 > ... > ᾱ_T. σ = √((1 - ᾱ)/ᾱ) is the noise of X/√ᾱ.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def sigma_of(alpha_bar: Floats | float) -> Floats:
    """√((1 - ᾱ)/ᾱ)"""
    return np.asarray(np.sqrt((1 - np.asarray(alpha_bar)) / np.asarray(alpha_bar)))


def alpha_bar_of(sigma: Floats | float) -> Floats:
    """1/(1 + σ²)"""
    return np.asarray(1 / (1 + np.square(np.asarray(sigma, dtype=np.float64))))


def geometric_levels(count: int, *, noise: tuple[float, float] = (1e-3, 1 - 1e-4)) -> Floats:
    """σ in geometric progression (log-SNR uniform, 1 - ᾱ uniform in its logit); our default.

    Args:
        count: T, at least 2.
        noise: 1 - ᾱ of the first and the last level.

    Returns:
        (T,) descending ᾱ.
    """
    low, high = noise
    if count < 2:
        raise ValueError(f"a grid needs at least 2 levels, got {count}")
    if not 0 < low < high < 1:
        raise ValueError(f"noise must rise within (0, 1), got {low} to {high}")
    logits = np.linspace(np.log(low / (1 - low)), np.log(high / (1 - high)), count)
    return np.asarray(1 / (1 + np.exp(logits)))


def li_levels(count: int, *, c0: float = 2.0, c1: float = 4.0) -> Floats:
    """β_1 = T^-c0, β_t = c1 log T/T · min(β_1 (1 + c1 log T/T)^t, 1), ᾱ = Π(1 - β).

    Recalled from papers of the same authors, not read again: steps grow geometrically, then stay.

    Raises:
        ValueError: so few levels that c1 log T/T reaches 1, which would end the products at 0.
    """
    if count < 2:
        raise ValueError(f"a grid needs at least 2 levels, got {count}")
    rate = c1 * np.log(count) / count
    if rate >= 1:
        raise ValueError(
            f"li levels need a larger count than {count} (c1 log T / T is {rate:.2f}, and must be below 1)"
        )
    first = float(count) ** -c0
    steps = np.arange(2, count + 1)
    betas = np.concatenate([[first], rate * np.minimum(first * (1 + rate) ** steps, 1)])
    return np.asarray(np.cumprod(1 - betas))
