"""The accelerated stochastic sampler against first-order ones, on targets whose laws are computed exactly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
)

from tameshi.diffusion import (
    SAMPLERS,
    AcceleratedStochasticScheduler,
    GaussianMixtureScore,
    geometric_levels,
    sampler_error,
    total_variation,
)
from tameshi.diffusion.density import gaussian_divergence, gaussian_variances, grid_for
from tameshi.diffusion.levels import alpha_bar_of, sigma_of
from tameshi.diffusion.samplers import accelerated, level_count
from tameshi.doors.files import writing
from tameshi.nouns import AllOf, Beats, Measurement, Missing, Reaches, Rows, Rule, apply, check, figure, measure
from tameshi.specimens.pipeline import Pipeline

LAST = 3  # evaluations from which a slope is taken: the largest three


def world(seed: int) -> GaussianMixtureScore:
    """A mixture of three Gaussians, standardised: a fixed one for seed 0, drawn for the others."""
    if seed == 0:
        return GaussianMixtureScore([0.5, 0.3, 0.2], [-1.2, 0.4, 1.6], [0.25, 0.15, 0.35]).standardised()
    rng = np.random.default_rng([seed, 4])
    means = np.array([-1.2, 0.4, 1.6]) + rng.uniform(-0.4, 0.4, 3)
    return GaussianMixtureScore(rng.dirichlet([5, 5, 5]), means, rng.uniform(0.15, 0.35, 3)).standardised()


def slope(evaluations: Sequence[int], errors: Sequence[float]) -> float:
    """Of log error over log evaluations, by least squares over the last three."""
    return float(np.polyfit(np.log(evaluations[-LAST:]), np.log(errors[-LAST:]), 1)[0])


def needed(evaluations: Sequence[int], errors: Sequence[float], error: float) -> float | Missing:
    """Evaluations at which an error is reached for good: linear in the logarithms, also beyond the last by its segment."""
    x, y = np.log(evaluations), np.log(errors)
    above = np.flatnonzero(y > math.log(error))
    if not len(above):
        return Missing(f"the error is below {error:g} at {evaluations[0]} evaluations already")
    i = min(int(above[-1]), len(x) - 2)
    rate = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
    if rate >= 0:
        return Missing(f"the error does not come down to {error:g}")
    return float(math.exp(x[i] + (math.log(error) - y[i]) / rate))


def crossing(evaluations: Sequence[int], ours: Sequence[float], theirs: Sequence[float]) -> float | Missing:
    """Evaluations from which on ours has the smaller error."""
    gap = np.log(ours) - np.log(theirs)
    above = np.flatnonzero(gap > 0)
    if not len(above):
        return Missing(f"ours is better at {evaluations[0]} evaluations already")
    i = int(above[-1])
    if i == len(gap) - 1:
        return Missing(f"ours is still worse at {evaluations[-1]} evaluations")
    x = np.log(evaluations)
    return float(math.exp(x[i] + gap[i] / (gap[i] - gap[i + 1]) * (x[i + 1] - x[i])))


@check("accelerated-diffusion", seeds=5)
def exact(
    *,
    evaluations: tuple[int, ...] = (8, 16, 32, 64, 128, 256),
    score_errors: tuple[float, ...] = (0.01, 0.05),
    seed: int = 0,
) -> Iterator[Measurement]:
    """Total variation of each sampler's law over the evaluations of the score, propagated on a grid without sampling.

    The target of seed 0 is a fixed mixture, that of other seeds a drawn one; the error is measured against the law at the
    lowest level, so that stopping there is no error of the sampler (it is reported apart).

    Args:
        evaluations: of the score; even numbers.
        score_errors: amplitudes a of an error a cos(3x) in the score.
    """
    sharp = 0.1

    @cache
    def error(name: str, count: int, factor: float = 1.0, wrong: float = 0.0) -> float:
        target = world(seed).sharpened(factor)

        def mistaken(x: Any, alpha_bar: float) -> Any:
            return target(x, alpha_bar) + wrong * np.cos(3 * x)

        return sampler_error(mistaken if wrong else target, None, name, count, target=target)

    def curve(name: str, factor: float = 1.0) -> list[float]:
        return [error(name, count, factor) for count in evaluations]

    def one(name: str, count: int) -> dict[str, float]:
        return {"total_variation": error(name, count)}

    def read(name: str) -> dict[str, Any]:
        found = curve(name)
        return {
            "slope": slope(evaluations, found),
            "evaluations_to_0.01": needed(evaluations, found, 0.01),
            "evaluations_to_0.03": needed(evaluations, found, 0.03),
            "crossing_with_accelerated": crossing(evaluations, curve("accelerated"), found),
        }

    def rough(name: str) -> dict[str, float]:
        return {"rough_slope": slope(evaluations, curve(name, sharp))}

    def mistaken(name: str, wrong: float) -> dict[str, float]:
        late = [error(name, count, 1.0, wrong) for count in evaluations[-2:]]
        return {"total_variation_wrong_score": late[1], "flatness": late[1] / late[0]}

    def floors(name: str) -> dict[str, float]:
        low, high = (error(name, evaluations[-1], 1.0, wrong) for wrong in (min(score_errors), max(score_errors)))
        return {"floor_ratio": high / low / (max(score_errors) / min(score_errors))}

    def stopping() -> dict[str, float]:
        level, grid = float(geometric_levels(2)[0]), grid_for(66)
        return {"early_stopping": total_variation(world(seed).density(grid, level), world(seed).density(grid), grid)}

    for name in SAMPLERS:
        for count in evaluations:
            level_count(name, count)  # an odd number is refused before anything is propagated
            yield measure(name, partial(one, name, count), evaluations=count)
    if len(evaluations) >= LAST:
        for name in SAMPLERS:
            yield measure(name, partial(read, name))
        for name in ("accelerated", "ddpm"):
            yield measure(name, partial(rough, name), target="rough")
    for wrong in score_errors:
        yield measure("accelerated", partial(mistaken, "accelerated", wrong), score_error=wrong)
    if len(score_errors) > 1:
        yield measure("accelerated", partial(floors, "accelerated"), score_error="ratio")
    yield measure("early stopping", stopping)


@check("accelerated-diffusion")
def dimensions(
    *, sizes: tuple[int, ...] = (1, 4, 16, 64, 256), evaluations: int = 128, seed: int = 0
) -> Iterator[Measurement]:
    """Divergence on Gaussian targets in many dimensions, in closed form; eigenvalues 0.05 to 4 in geometric progression.

    On product targets the error of every method grows like the root of the dimension, so that the rates d and d^(5/4) cannot be
    told apart here; and on Gaussians alone the sampler of 2024 looks second-order, too. No claim is judged by these rows.

    Args:
        sizes: dimensions.
        evaluations: of the score.
    """

    def error(name: str, d: int) -> dict[str, float]:
        levels = geometric_levels(level_count(name, evaluations))
        variances = np.geomspace(0.05, 4, d) if d > 1 else np.array([math.sqrt(0.2)])
        sampler = partial(accelerated, kappa=math.inf) if name == "accelerated" else SAMPLERS[name]
        wanted = variances * levels[0] + 1 - levels[0]
        return {"root_half_divergence": gaussian_divergence(gaussian_variances(sampler, variances, levels), wanted)}

    for d in sizes:
        for name in ("accelerated", "ddpm", "accelerated-2024"):
            yield measure(name, partial(error, name, d), dimension=d)


def schedulers() -> dict[str, tuple[Callable[[], Any], Callable[[int], int]]]:
    """Name -> (makes the scheduler, steps that a number of network calls pays for)."""
    noise = {"beta_start": 1e-4, "beta_end": 0.02}  # KDPM2's and Heun's own defaults are of another model's noise
    sde = partial(DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++", **noise)
    return {
        "accelerated": (partial(AcceleratedStochasticScheduler, **noise), lambda calls: (calls + 1) // 2),
        "diffusers DDPM": (partial(DDPMScheduler, clip_sample=False, **noise), lambda calls: calls),
        "diffusers Euler ancestral": (partial(EulerAncestralDiscreteScheduler, **noise), lambda calls: calls),
        "diffusers KDPM2 ancestral": (
            partial(KDPM2AncestralDiscreteScheduler, **noise),
            lambda calls: (calls + 1) // 2,
        ),
        "diffusers Heun": (partial(HeunDiscreteScheduler, **noise), lambda calls: (calls + 1) // 2),
        "diffusers DPM++ 2M": (partial(DPMSolverMultistepScheduler, **noise), lambda calls: calls),
        "diffusers sde-DPM++ 2M": (sde, lambda calls: calls),
    }


@check("accelerated-diffusion", seeds=2)
def libraries(
    pipeline: Pipeline | None = None,
    *,
    calls: tuple[int, ...] = (10, 20, 40, 80),
    samples: int = 20_000,
    network_calls: tuple[int, ...] = (19, 39),
    images: int = 32,
    reference_steps: int = 1000,
    prompt: str = "",
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Schedulers of diffusers side by side at equal network calls, on the exact noise of a mixture; histogram total variation.

    All on the same noise (linear betas from 1e-4 to 0.02), each with its own spacing of the timesteps. Two calls a step buy the second-order ones half the steps. The sampling floor is what as many exact samples show. With a
    pipeline, the samplers also draw from it, and are held against a long DDPM run.

    Args:
        pipeline: folder of a local diffusers pipeline.
        calls: of the network, on the mixture.
        samples: drawn from each, on the mixture.
        network_calls: of each sampler on the pipeline; odd numbers suit those of two calls a step.
        images: drawn from the pipeline.
        reference_steps: of the DDPM run on the pipeline.
        prompt: where the pipeline takes one.
        limit: at most so many samples.
    """
    count = samples if limit is None else min(samples, limit)
    edges = np.linspace(-3.5, 3.5, 61)

    def distance(drawn: Any, name: str) -> dict[str, Any]:
        if not np.isfinite(drawn).all():
            return {"histogram_variation": Missing(f"{name} gave samples that are not finite")}
        fine = np.linspace(edges[0], edges[-1], 60 * 50 + 1)
        density = world(0).density(fine)
        wanted = np.add.reduceat((density[1:] + density[:-1]) / 2 * (fine[1] - fine[0]), np.arange(0, 3000, 50))
        found = np.histogram(drawn, edges)[0] / len(drawn)
        return {"histogram_variation": float(np.abs(found - wanted).sum() / 2 + (1 - found.sum()) / 2)}

    def sampled(name: str, number: int) -> dict[str, Any]:
        make, steps = schedulers()[name]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # some of diffusers' schedulers still copy as NumPy 1 did
            return distance(walked(name, make(), steps(number)), name)

    def walked(name: str, scheduler: Any, steps: int) -> Any:
        known = np.log(sigma_of(AcceleratedStochasticScheduler().alphas_cumprod.numpy()))
        times = np.arange(len(known))
        scheduler.set_timesteps(steps)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 1, generator=generator, dtype=torch.float64) * float(scheduler.init_noise_sigma)
        randomness = {} if name == "diffusers Heun" else {"generator": generator}
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, t)
            shrunk = float(scaled.norm() / x.norm())  # schedulers that work in σ scale their samples by √ᾱ
            level = shrunk**2 if shrunk < 1 else float(alpha_bar_of(np.exp(np.interp(float(t), times, known))))
            noise = -math.sqrt(1 - level) * world(0)(scaled, level)
            x = scheduler.step(noise, t, x, **randomness).prev_sample
        return x.double().numpy().ravel()

    for number in calls:
        for name in schedulers():
            yield measure(name, partial(sampled, name, number), calls=number)
    yield measure("exact samples", lambda: distance(world(0).draw(count, seed=seed), "exact samples"))
    if pipeline is not None:
        yield from _on_pipeline(pipeline, network_calls, images, reference_steps, prompt, seed)


def _on_pipeline(
    pipeline: Pipeline, network_calls: tuple[int, ...], images: int, reference_steps: int, prompt: str, seed: int
) -> Iterator[Measurement]:
    """Sliced Wasserstein distance of pixels (or latents) to a long DDPM run, at equal network calls."""
    kinds: dict[str, tuple[Any, Callable[[int], int]]] = {
        "accelerated": (AcceleratedStochasticScheduler, lambda c: (c + 1) // 2),
        "diffusers DDPM": (DDPMScheduler, lambda c: c),
        "diffusers KDPM2 ancestral": (KDPM2AncestralDiscreteScheduler, lambda c: (c + 1) // 2),
    }

    @cache
    def drawn(name: str, steps: int, first: int) -> Any:
        return draw(pipeline.loaded, kinds[name][0], steps, images, first, prompt)

    def distance(name: str, calls: int) -> dict[str, float]:
        reference = drawn("diffusers DDPM", reference_steps, 10_000 * (seed + 1))
        return {
            "sliced_wasserstein": sliced_wasserstein(drawn(name, kinds[name][1](calls), seed), reference, seed=seed)
        }

    def floor() -> dict[str, float]:
        one, two = (
            drawn("diffusers DDPM", reference_steps, first) for first in (10_000 * (seed + 1), 20_000 * (seed + 1))
        )
        return {"sliced_wasserstein": sliced_wasserstein(one, two, seed=seed)}

    for calls in network_calls:
        for name in kinds:
            yield measure(name, partial(distance, name, calls), network_calls=calls)
    yield measure("another reference run", floor)


def draw(pipeline: Any, scheduler: Any, steps: int, count: int, seed: int, prompt: str = "") -> Any:
    """(count, ...) pixels or latents of a pipeline under another scheduler, one generator an image."""
    before = pipeline.scheduler
    generators = [torch.Generator().manual_seed(seed + k) for k in range(count)]
    common: dict[str, Any] = {"num_inference_steps": steps, "generator": generators}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pipeline.scheduler = scheduler.from_config(before.config)
            if hasattr(pipeline, "tokenizer"):
                made = pipeline([prompt] * count, output_type="latent", **common).images
            else:
                made = pipeline(batch_size=count, output_type="np", **common).images
    finally:
        pipeline.scheduler = before
    return np.asarray(made, dtype=np.float64).reshape(count, -1)


def sliced_wasserstein(one: Any, two: Any, *, directions: int = 256, seed: int = 0) -> float:
    """Mean over random directions of the distance between sorted projections; samples (n, d) each, n the same."""
    rng = np.random.default_rng([seed, 5])
    lines = rng.normal(size=(one.shape[1], directions))
    lines /= np.linalg.norm(lines, axis=0)
    return float(np.abs(np.sort(one @ lines, axis=0) - np.sort(two @ lines, axis=0)).mean())


RULES: list[Rule] = [
    AllOf(
        "C1",
        (
            Reaches("C1", "accelerated", -1.7, metric="slope", better="lower", control=("ddpm-posterior", "euler-ode")),
            Reaches("C1", "ddpm", -1.2, metric="slope", better="higher"),
            Reaches("C1", "ddpm", -0.8, metric="slope", better="lower"),
        ),
    ),
    Beats(
        "C2",
        "accelerated",
        ("ddpm", "ddpm-posterior"),
        metric="evaluations_to_0.01",
        better="lower",
        control=("euler-ancestral",),
    ),
    AllOf(
        "C3",
        (
            Reaches("C3", "accelerated", -1.7, metric="rough_slope", better="lower"),
            # the floor is flat, and proportional to the error of the score within a factor (our choice of the bounds)
            Reaches("C3", "accelerated", 0.8, metric="flatness", better="higher", where={"score_error": 0.05}),
            Reaches("C3", "accelerated", 0.6, metric="floor_ratio", better="higher"),
            Reaches("C3", "accelerated", 1.4, metric="floor_ratio", better="lower"),
        ),
    ),
]

SHOWN = {
    "accelerated": "#c0392b",
    "ddpm": "#2c3e50",
    "ddpm-posterior": "#2980b9",
    "accelerated-2024": "#e67e22",
    "euler-ode": "#7f8c8d",
    "heun-ode": "#27ae60",
}


@figure("accelerated-diffusion", en="Exact error over score evaluations", ja="スコア評価回数に対する厳密な誤差")
def error_by_evaluations(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    measured = rows.where(check="exact", metric="total_variation")
    levels = [int(n) for n in measured.levels("evaluations")]
    if not levels:
        return None
    made = Figure(figsize=(5.5, 4), layout="constrained")
    axes = made.subplots()
    for name, colour in SHOWN.items():
        values = [measured.where(method=name, evaluations=n).mean("total_variation") for n in levels]
        axes.loglog(levels, values, "o-", color=colour, label=name, markersize=3)
    reference = np.array([levels[-3 if len(levels) > 2 else 0], levels[-1]], dtype=float)
    at = measured.where(method="accelerated", evaluations=int(reference[0])).mean("total_variation")
    axes.loglog(reference, at * 1.5 * (reference / reference[0]) ** -2, "k:", linewidth=1, label="slope -2")
    axes.set(xlabel="evaluations of the score", ylabel="total variation")
    axes.legend(fontsize=7)
    return made


@figure(
    "accelerated-diffusion",
    en="Schedulers of diffusers at equal network calls",
    ja="ネットワーク呼び出し回数をそろえたdiffusersのスケジューラー",
)
def libraries_by_calls(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    measured = rows.where(check="libraries", metric="histogram_variation")
    levels = [int(n) for n in measured.levels("calls")]
    if not levels:
        return None
    made = Figure(figsize=(5.5, 4), layout="constrained")
    axes = made.subplots()
    for name in measured.methods:
        if name != "exact samples":
            values = [measured.where(method=name, calls=n).mean("histogram_variation") for n in levels]
            axes.loglog(levels, values, "o-", label=name, markersize=3, linewidth=2 if name == "accelerated" else 1)
    axes.axhline(measured.where(method="exact samples").mean("histogram_variation"), color="black", linestyle=":")
    axes.set(xlabel="network calls", ylabel="histogram total variation")
    axes.legend(fontsize=7)
    return made


@apply("accelerated-diffusion")
def sample_pipeline(
    pipeline: Pipeline,
    *,
    output: Path,
    images: int = 4,
    steps: int = 20,
    prompt: str = "",
    clip_kappa: float = 2.0,
    seed: int = 0,
) -> str:
    """Draw images from a local diffusers pipeline with the accelerated sampler; image k has the seed `seed` + k.

    Args:
        pipeline: folder of the pipeline.
        output: new folder for image-0.png, image-1.png, ...
        images: how many.
        steps: of the sampler; n steps are 2n - 1 network calls.
        prompt: where the pipeline takes one.
        clip_kappa: corrections longer than this times the root of an image's numbers are shortened.
    """
    if images < 1:
        raise ValueError(f"--images must be at least 1, got {images}")
    if steps < 2:
        raise ValueError(f"--steps must be at least 2, got {steps}")
    loaded = pipeline.loaded
    loaded.scheduler = AcceleratedStochasticScheduler.from_config(loaded.scheduler.config, clip_kappa=clip_kappa)
    generators = [torch.Generator().manual_seed(seed + k) for k in range(images)]
    common: dict[str, Any] = {"num_inference_steps": steps, "generator": generators, "output_type": "pil"}
    made = loaded([prompt] * images, **common) if hasattr(loaded, "tokenizer") else loaded(batch_size=images, **common)
    with writing(output, folder=True) as beside:
        for k, image in enumerate(made.images):
            image.save(beside / f"image-{k}.png")
    calls = len(loaded.scheduler.timesteps)
    return f"{images} images, {calls} network calls each, written to {output} (a reconstruction of the paper's sampler)"
