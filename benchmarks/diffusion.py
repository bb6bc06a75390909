"""Speed of the diffusion wing, as ratios of CPU time in one process.

OMP_NUM_THREADS=1 python benchmarks/diffusion.py
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from diffusers import DDPMScheduler, KDPM2AncestralDiscreteScheduler, UNet2DModel

from tameshi.diffusion import AcceleratedStochasticScheduler, GaussianMixtureScore, sampler_error

torch.set_num_threads(1)


def per_call(scheduler: Any, steps: int, rounds: int = 5) -> float:
    """CPU seconds of one `step`, the fastest of some whole runs on a (4, 4, 64, 64) tensor."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 4, 64, 64, generator=generator)
    noise = torch.randn(4, 4, 64, 64, generator=generator)
    found = []
    for _ in range(rounds + 1):
        scheduler.set_timesteps(steps)
        begun = time.thread_time()
        for t in scheduler.timesteps:
            scheduler.step(noise, t, x, generator=generator)
        found.append((time.thread_time() - begun) / len(scheduler.timesteps))
    return min(found[1:])


def overhead() -> None:
    ours = per_call(AcceleratedStochasticScheduler(), 50)
    ddpm = per_call(DDPMScheduler(), 100)
    kdpm = per_call(KDPM2AncestralDiscreteScheduler(), 50)
    print(
        f"step on (4, 4, 64, 64): {ours * 1e6:.0f} us; DDPM {ddpm * 1e6:.0f} us, ratio {ours / ddpm:.2f} (goal 1.3); "
        f"KDPM2 ancestral {kdpm * 1e6:.0f} us, ratio {ours / kdpm:.2f} (goal 1.2)"
    )
    network = UNet2DModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    size = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    x, found = torch.randn(4, 4, 64, 64), []
    with torch.no_grad():
        for _ in range(6):
            begun = time.thread_time()
            network(x, 500)
            found.append(time.thread_time() - begun)
    call = min(found[1:])
    print(
        f"a call of a UNet of {size:.1f} M parameters: {call * 1e3:.0f} ms, step is {ours / call:.2%} of it (goal 1%)"
    )


def table() -> None:
    mixture = GaussianMixtureScore([0.5, 0.3, 0.2], [-1.2, 0.4, 1.6], [0.25, 0.15, 0.35]).standardised()
    begun = time.thread_time()
    for name in ("ddpm", "ddpm-posterior", "accelerated-2024", "euler-ode", "accelerated", "heun-overshoot"):
        counts = [8, 16, 32, 64, 128] if name not in ("accelerated", "heun-overshoot") else [16, 32, 64, 128, 256]
        errors = [sampler_error(mixture, name, n) for n in counts]
        print(f"  {name:18}" + "".join(f"{n:5}: {e:.5f}" for n, e in zip(counts, errors, strict=True)))
    print(f"exact propagation of the whole table: {time.thread_time() - begun:.1f} CPU s (goal 10)")


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    overhead()
    table()
