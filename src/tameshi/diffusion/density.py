"""Exact laws of samplers: a one-dimensional density carried through the kernels, and Gaussians in any dimension.

No sample is drawn, so that errors of 1e-4 can be read, where 60,000 samples show nothing below 1e-2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from tameshi.diffusion.levels import Floats, geometric_levels
from tameshi.diffusion.mixture import GaussianMixtureScore, gaussian_score
from tameshi.diffusion.samplers import SAMPLERS, Kernel, Sampler, Score, level_count

BLOCK = 32  # sources smeared together; each block only reaches targets within REACH standard deviations
STARTS = 1000  # points that a chain without noise begins with
REACH = 8.5  # beyond, a normal density is below 1e-16 of its height


def grid_for(levels: int, smallest: float = math.inf) -> Floats:
    """Points fine enough for so many levels: 601 on [-5, 5] up to 65, 1,601 on [-6, 6] beyond; more where noise is finer.

    Steps as wide as the standard deviation of a normal density sum it wrongly by 2 e^(-2π²), some 5e-9; at twice that width the
    error is 1 %, every time it is spread, and laws come out wrong.

    Args:
        levels: of the chain.
        smallest: standard deviation of its finest noise; steps are at most as wide.
    """
    end, count = (5.0, 601) if levels <= 65 else (6.0, 1601)
    return np.linspace(-end, end, max(count, math.ceil(2 * end / smallest) + 1))


def propagate(kernels: Iterable[Kernel], grid: Floats) -> Floats:
    """The density of the last kernel's output, started from N(0, 1).

    A noisy kernel spreads the mass of every point as a Gaussian around its image: p'(y) = Σ p(x) dx φ((y - m(x))/s)/s. Maps
    without noise only move the points; the density is read off their spacing when it is next needed.

    Args:
        kernels: from a sampler.
        grid: (n,) equally spaced.

    Returns:
        (n,) density on the grid.
    """
    spacing = float(grid[1] - grid[0])
    chain = list(kernels)
    if chain and not any(kernel.noise for kernel in chain):
        return _flowed(chain, grid)
    points, moved = grid, False
    masses = _normal(grid) * spacing
    for kernel in chain:
        points, moved = kernel.mean(points), True
        if kernel.noise:
            masses = _smeared(points, masses, kernel.noise, grid) * spacing
            points, moved = grid, False
    return _regridded(grid, points, masses / spacing, grid) if moved else masses / spacing


def total_variation(p: Floats, q: Floats, grid: Floats) -> float:
    """Half the integral of |p - q|."""
    return float(np.abs(p - q).sum() * (grid[1] - grid[0]) / 2)


def sampler_error(score: Score, sampler: str, evaluations: int, *, target: GaussianMixtureScore | None = None) -> float:
    """Total variation between a sampler's law and the exact one at the first level of a geometric grid.

    Args:
        score: that the sampler uses; it may be wrong.
        sampler: a name of `SAMPLERS`.
        evaluations: of the score.
        target: the mixture that is sampled; `score` itself by default.

    Raises:
        ValueError: an unknown sampler, or evaluations that it cannot take.
        TypeError: no target, and a score without a density.
        ArithmeticError: the law is wider than any grid.
    """
    exact = score if target is None else target
    if not isinstance(exact, GaussianMixtureScore):
        raise TypeError("a score that is no GaussianMixtureScore needs target=, whose law is known")
    levels = geometric_levels(level_count(sampler, evaluations))
    chain = list(SAMPLERS[sampler](score, levels))
    grid, law = whole(chain, grid_for(len(levels), min((k.noise for k in chain if k.noise), default=math.inf)))
    return total_variation(law, exact.density(grid, float(levels[0])), grid)


def whole(chain: Sequence[Kernel], grid: Floats) -> tuple[Floats, Floats]:
    """(grid, density): propagated on a grid made wider, at the same spacing, until less than a thousandth of the mass leaves it.

    With few levels samplers overshoot on their way: DDPM at 8 evaluations would lose a fifth of its mass beyond -5 and 5.

    Raises:
        ArithmeticError: even 32 times as wide is not enough.
    """
    for _ in range(6):
        density = propagate(chain, grid)
        if abs(float(density.sum() * (grid[1] - grid[0])) - 1) < 1e-3:
            return grid, density
        grid = np.linspace(2 * grid[0], 2 * grid[-1], 2 * len(grid) - 1)
    raise ArithmeticError(f"the law does not fit between {grid[0] / 2:g} and {grid[-1] / 2:g}; use more levels")


def gaussian_variances(sampler: Sampler, variances: Floats, levels: Floats) -> Floats:
    """The variances (k,) that a sampler ends with when the target is N(0, variances): all maps are linear.

    The sampler must not clip: clipping is no linear map.
    """
    found = np.ones_like(variances)
    for kernel in sampler(gaussian_score(variances), levels):
        found = kernel.mean(np.ones_like(variances)) ** 2 * found + kernel.noise**2
    return np.asarray(found)


def gaussian_total_variation(v1: float, v2: float) -> float:
    """Between N(0, v1) and N(0, v2), in closed form."""
    if v1 == v2:
        return 0.0
    a, b = min(v1, v2), max(v1, v2)
    crossing = math.sqrt(a * b * math.log(b / a) / (b - a))
    return math.erf(crossing / math.sqrt(2 * a)) - math.erf(crossing / math.sqrt(2 * b))


def gaussian_divergence(found: Floats, wanted: Floats) -> float:
    """√(KL/2) of the law N(0, wanted) from a sampler's N(0, found), independent coordinates: bounds the total variation (Pinsker).

    Args:
        found, wanted: variances, (d,).
    """
    ratio = wanted / found
    return float(np.sqrt((ratio - 1 - np.log(ratio)).sum() / 4))


def _smeared(points: Floats, masses: Floats, noise: float, grid: Floats) -> Floats:
    density = np.zeros_like(grid)
    for start in range(0, len(points), BLOCK):
        block, weight = points[start : start + BLOCK], masses[start : start + BLOCK]
        if weight.max() < 1e-20:
            continue
        low = np.searchsorted(grid, block.min() - REACH * noise)
        high = np.searchsorted(grid, block.max() + REACH * noise)
        z = (grid[low:high, None] - block) * (1 / noise)
        z *= z
        z *= -0.5
        np.exp(z, out=z)
        density[low:high] += z @ weight
    return density / (noise * math.sqrt(2 * math.pi))


def _flowed(chain: list[Kernel], grid: Floats) -> Floats:
    """The density after maps alone. A flow pulls points apart, between modes a thousandfold: where they end up sparse, more
    are started."""

    def through(points: Floats) -> Floats:
        for kernel in chain:
            points = kernel.mean(points)
        return points

    starts = np.linspace(grid[0], grid[-1], STARTS)
    ends = through(starts)
    if (np.diff(ends) > 0).all():
        evenly = np.interp(np.linspace(ends[0], ends[-1], 2 * STARTS), ends, starts)
        starts = np.unique(np.concatenate([starts, evenly]))
        starts = starts[np.append(True, np.diff(starts) > 1e-9)]
        ends = through(starts)
    return _regridded(starts, ends, _normal(starts), grid)


def _normal(points: Floats) -> Floats:
    return np.asarray(np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi))


def _regridded(starts: Floats, ends: Floats, density: Floats, grid: Floats) -> Floats:
    """The density on the grid after a map that took `starts`, where it was `density`, to `ends`."""
    between = (density[:-1] + density[1:]) / 2 * np.diff(starts)
    if (np.diff(ends) > 0).all():
        found = _read_off_slopes(starts, ends, density, grid)
        inside = (ends[:-1] >= grid[0]) & (ends[1:] <= grid[-1])
        if abs(found.sum() * (grid[1] - grid[0]) - between[inside].sum()) < 1e-3:
            return found
    # the map folds, or its images are too sparse: the mass between two neighbours is spread evenly between their images
    low, high = np.minimum(ends[:-1], ends[1:]), np.maximum(ends[:-1], ends[1:])
    half = (grid[1] - grid[0]) / 2
    edges = np.append(grid - half, grid[-1] + half)
    width = np.maximum(high - low, 1e-300)
    below = np.array([(between * np.clip((edge - low) / width, 0, 1)).sum() for edge in edges])
    return np.asarray(np.diff(below) / (2 * half))


def _read_off_slopes(starts: Floats, ends: Floats, density: Floats, grid: Floats) -> Floats:
    """The same where the map rises: density over slope, between the images by interpolation in the logarithm."""
    slope = np.gradient(ends, starts)  # positive, since the map rises
    smooth = CubicSpline(starts, ends)(starts, 1)  # more exact, where it does not overshoot
    slope = np.where(np.abs(smooth - slope) < slope / 4, smooth, slope)
    inside = (grid >= ends[0]) & (grid <= ends[-1])
    logs = np.log(np.maximum(density, 1e-300)) - np.log(slope)
    found = np.zeros_like(grid)
    found[inside] = np.exp(PchipInterpolator(ends, logs)(grid[inside]))
    return found
