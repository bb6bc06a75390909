"""The accelerated stochastic sampler as a diffusers scheduler: two network calls a step, no retraining.

RECONSTRUCTION of Li and Cai, "Provable Acceleration for Diffusion Models under Minimal Assumptions", arXiv:2410.23285, from its
published ingredients; the step and what is known of it stand in `samplers.accelerated`.

    pipe.scheduler = AcceleratedStochasticScheduler.from_config(pipe.scheduler.config)
    image = pipe(num_inference_steps=20).images[0]  # 39 network calls
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from tameshi.diffusion.levels import Floats, li_levels, sigma_of
from tameshi.diffusion.samplers import clipped

LOWEST_ALPHA_BAR = 1e-6  # noisier levels are left out: σ runs off to infinity there


@dataclass(frozen=True)
class Transition:
    """One step of the grid. α̂ are levels ᾱ, `beyond` the one that is overshot to (the target itself in the last step)."""

    here: float
    half: float
    target: float
    beyond: float


class AcceleratedStochasticScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]  # diffusers has no types
    """Drop-in scheduler for pipelines of variance-preserving models (epsilon, sample or v prediction).

    `timesteps` holds two entries for every step, the level and the one half way, and one more where `final_denoise`; like
    Heun and KDPM2, `step` is called once for each, and n steps are 2n - 1 network calls. Compare samplers by calls, not steps.
    A slice of `timesteps` should start at an even position (`order` is 2, and image-to-image pipelines multiply by it); if it
    starts at an odd one, the first call returns the sample as it is, since it already has the noise of the next level.

    Args:
        num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr: of the model's noise,
            as in diffusers; ᾱ is computed in float64.
        prediction_type: "epsilon", "sample" or "v_prediction".
        clip_kappa: κ; corrections longer than κ √(numbers in a sample) are shortened. inf: never.
        grid: "geometric" in σ (our default), "trailing" (even timesteps), "li" (the schedule of the authors' papers, recalled).
        steps_offset: the lowest timestep that is visited.
        final_denoise: end with a prediction of the clean sample (one more call).
        allow_float_t: hand the network timesteps between the integers instead of rounding the levels to them.
    """

    order = 2
    _compatibles = [e.name for e in KarrasDiffusionSchedulers]  # noqa: RUF012  # as diffusers has it

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon",
        clip_kappa: float = 2.0,
        grid: Literal["geometric", "trailing", "li"] = "geometric",
        steps_offset: int = 0,
        final_denoise: bool = True,
        rescale_betas_zero_snr: bool = False,
        allow_float_t: bool = False,
    ) -> None:
        if prediction_type not in ("epsilon", "sample", "v_prediction"):
            raise ValueError(
                f'prediction_type must be "epsilon", "sample" or "v_prediction", got {prediction_type!r}; '
                "flow-matching models have schedulers of their own"
            )
        if grid not in ("geometric", "trailing", "li"):
            raise ValueError(f'grid must be "geometric", "trailing" or "li", got {grid!r}')
        if not clip_kappa >= 0:
            raise ValueError(f"clip_kappa must be at least 0, got {clip_kappa}")
        betas: Floats = _betas(num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas)
        alpha_bars: Floats = np.asarray(np.cumprod(1 - betas), dtype=np.float64)
        if rescale_betas_zero_snr:
            alpha_bars = _zero_terminal(alpha_bars)
        self.alphas_cumprod = torch.from_numpy(alpha_bars)
        self.init_noise_sigma = 1.0
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(num_train_timesteps - 1, -1, -1)
        self._plan: list[Transition] = []
        self._last = 1.0
        self._step_index: int | None = None
        self._begin_index: int | None = None
        self._slope: Tensor | None = None
        self._start: Tensor | None = None

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """From another scheduler's configuration.

        Raises:
            ValueError: the configuration is of a flow-matching or EDM model, which this sampler is not for.
        """
        found = dict(config or {}) if not isinstance(config, str) else {}
        owner = str(found.get("_class_name", ""))
        no_betas = "beta_start" not in found and "trained_betas" not in found
        flows = (
            owner.startswith("FlowMatch")
            or (no_betas and "shift" in found)
            or found.get("use_flow_sigmas")
            or found.get("prediction_type") == "flow_prediction"
        )
        if flows or owner.startswith("EDM") or "sigma_data" in found:
            kind = "flow-matching" if flows else "EDM"
            raise ValueError(
                f"the configuration of {owner or 'this scheduler'} is of a {kind} model; this sampler is for "
                "variance-preserving ones (DDPM, DDIM, PNDM ...), keep the pipeline's own scheduler"
            )
        return super().from_config(config, return_unused_kwargs=return_unused_kwargs, **kwargs)

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])

    @property
    def step_index(self) -> int | None:
        """Position of the next call in `timesteps`; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Where a sliced run begins, if a pipeline has said so."""
        return self._begin_index

    @property
    def state_in_first_order(self) -> bool:
        """Whether the next call is the first of its step."""
        return self._slope is None

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin at this position of `timesteps`."""
        self._begin_index = begin_index

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The sample as it is: levels are variance preserving."""
        return sample

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: Any = None, sigmas: list[float] | Floats | None = None
    ) -> None:
        """Choose the levels.

        Levels that fall on the same training step after rounding are visited once, so that there can be fewer calls than
        2 n - 1.

        Args:
            num_inference_steps: n, how many levels; at least 2.
            device: of `timesteps`.
            sigmas: the levels as σ = √((1-ᾱ)/ᾱ), descending, instead.

        Raises:
            ValueError: fewer than 2 levels, or sigmas that do not fall.
        """
        if sigmas is not None:
            wanted = np.asarray(sigmas, dtype=np.float64)
            wanted = (
                wanted[:-1] if len(wanted) and wanted[-1] == 0 else wanted
            )  # a closing 0 is what final_denoise does
            if len(wanted) < 2 or not (wanted > 0).all() or not (np.diff(wanted) < 0).all():
                raise ValueError("sigmas must be at least 2 positive numbers that fall")
            times = self._times_of(wanted)
        else:
            if num_inference_steps is None or num_inference_steps < 2:
                raise ValueError(f"num_inference_steps must be at least 2, got {num_inference_steps}")
            times = self._times(num_inference_steps)
        if not self.config["allow_float_t"]:
            times = np.unique(np.round(times))[::-1]
        if len(times) < 2:
            raise ValueError("all levels fall on the same training step; use more of them, or allow_float_t=True")
        self.num_inference_steps = len(times)

        alpha_bars = self._alpha_bar(times)
        ends = sigma_of(alpha_bars[-2:])
        middle = self._times_of(np.array([ends.mean()]))
        middle = middle if self.config["allow_float_t"] else np.round(middle)
        half_times = np.append(times[1:-1], middle)
        half = self._alpha_bar(half_times)
        self._plan = [
            Transition(alpha_bars[i], half[i], alpha_bars[i + 1], alpha_bars[min(i + 2, len(times) - 1)])
            for i in range(len(times) - 1)
        ]
        visited = np.stack([times[:-1], half_times], axis=1).ravel()
        if self.config["final_denoise"]:
            visited = np.append(visited, times[-1])
        kind = torch.float32 if self.config["allow_float_t"] else torch.int64
        self.timesteps = torch.from_numpy(visited).to(device=device, dtype=kind)
        self._last = float(alpha_bars[-1])
        self._reset()

    def index_for_timestep(self, timestep: Any, schedule_timesteps: Tensor | None = None) -> int:
        """Position of a timestep; of those where it stands twice, the one that begins a step."""
        schedule = self.timesteps if schedule_timesteps is None else schedule_timesteps
        found = (schedule == timestep).nonzero().flatten().tolist()
        if not found:
            raise ValueError(f"timestep {timestep} is not one of the timesteps that set_timesteps chose")
        return int(next((i for i in found if i % 2 == 0), found[0]))

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[Tensor]:
        """One call: to the point half way, or from there to the next level.

        Args:
            model_output: what the network (after guidance) said of `sample`, same shape.
            timestep: at which it was asked.
            sample: (batch, ...).
            generator: of the noise; a list has one for each sample.
            return_dict: wrap the result.

        Returns:
            The sample for the next call, in the dtype of `sample`; half precision is computed in float32.
        """
        if self.num_inference_steps is None:
            raise ValueError("call set_timesteps before step")
        if self._step_index is None:
            self._step_index = self.index_for_timestep(timestep) if self._begin_index is None else self._begin_index
        position = self._step_index
        self._step_index += 1
        working = torch.promote_types(sample.dtype, torch.float32)
        x, output = sample.to(working), model_output.to(working)
        if position % 2 and self._slope is None:
            made = x  # a slice that starts on the second half: this sample is at the next level already
        elif position % 2:
            made = self._arrive(self._plan[position // 2], x, output, generator)
        elif position == 2 * len(self._plan):
            made = self._noise_free(x, output)
        else:
            made = self._leave(self._plan[position // 2], x, output)
        made = made.to(sample.dtype)
        return SchedulerOutput(prev_sample=made) if return_dict else (made,)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """√ᾱ x0 + √(1-ᾱ) ε at timesteps (batch,); floating ones lie between the training steps."""
        signal, rest = self._scales(original_samples, timesteps)
        return signal * original_samples + rest * noise

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """v = √ᾱ ε - √(1-ᾱ) x0"""
        signal, rest = self._scales(sample, timesteps)
        return signal * noise - rest * sample

    def _reset(self) -> None:
        self._step_index = self._begin_index = None
        self._slope = self._start = None

    def _leave(self, plan: Transition, x: Tensor, output: Tensor) -> Tensor:
        """First half: remember u and the slope, and go half way."""
        self._slope = self._noise_in(x, output, plan.here)
        self._start = x / math.sqrt(plan.here)
        away = float(sigma_of(plan.half) - sigma_of(plan.here))
        made: Tensor = math.sqrt(plan.half) * (self._start + away * self._slope)
        return made

    def _arrive(self, plan: Transition, x: Tensor, output: Tensor, generator: Any) -> Tensor:
        """Second half: correct the slope, overshoot, and put the noise back."""
        slope, start = self._slope, self._start
        assert slope is not None
        assert start is not None
        self._slope = self._start = None
        slope = slope + clipped(self._noise_in(x, output, plan.half) - slope, float(self.config["clip_kappa"]))
        made: Tensor = math.sqrt(plan.target) * (start + float(sigma_of(plan.beyond) - sigma_of(plan.here)) * slope)
        missing = 1 - plan.target / plan.beyond
        if missing > 0:  # the last step ends where it arrives, without noise
            made = made + math.sqrt(missing) * randn_tensor(
                made.shape, generator=generator, device=made.device, dtype=made.dtype
            )
        return made

    def _noise_free(self, x: Tensor, output: Tensor) -> Tensor:
        noise = self._noise_in(x, output, self._last)
        clean: Tensor = x / math.sqrt(self._last) - float(sigma_of(self._last)) * noise
        return clean

    def _noise_in(self, x: Tensor, output: Tensor, alpha_bar: float) -> Tensor:
        """ε̂ from whatever the network predicts."""
        signal, rest = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        kind = self.config["prediction_type"]
        if kind == "epsilon":
            return output
        return (x - signal * output) / rest if kind == "sample" else rest * x + signal * output

    def _scales(self, like: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        if timesteps.is_floating_point():
            alpha_bars = torch.from_numpy(self._alpha_bar(timesteps.double().cpu().numpy()))
        else:
            alpha_bars = self.alphas_cumprod[timesteps.cpu()]
        shape = (-1, *[1] * (like.ndim - 1))
        scales = [part.to(like.device, like.dtype).view(shape) for part in (alpha_bars.sqrt(), (1 - alpha_bars).sqrt())]
        return scales[0], scales[1]

    def _usable(self) -> Floats:
        """The model's levels from the least noisy on, as far as σ stays finite."""
        alpha_bars = self.alphas_cumprod.numpy()
        if alpha_bars[-1] < 1e-10:
            warnings.warn(
                f"the model ends at a signal of {alpha_bars[-1]:.1g} (zero terminal SNR); the grid begins at ᾱ >= "
                f"{LOWEST_ALPHA_BAR:g} instead",
                stacklevel=4,
            )
        return np.asarray(alpha_bars[alpha_bars >= LOWEST_ALPHA_BAR])

    def _times(self, count: int) -> Floats:
        usable = self._usable()
        low, high = int(self.config["steps_offset"]), len(usable) - 1
        if self.config["grid"] == "trailing":
            return np.linspace(high, low, count)
        sigmas = sigma_of(usable)
        if self.config["grid"] == "geometric":
            return self._times_of(np.geomspace(sigmas[high], sigmas[low], count))
        wanted = np.clip(sigma_of(li_levels(count)), sigmas[low], sigmas[high])[::-1]
        return np.clip(self._times_of(wanted), low, high)

    def _times_of(self, sigmas: Floats) -> Floats:
        """Training timesteps, not rounded, of noise levels: linear in log σ between the integers."""
        known = np.log(sigma_of(self._usable_quietly()))
        return np.asarray(np.interp(np.log(sigmas), known, np.arange(len(known))))

    def _alpha_bar(self, times: Floats) -> Floats:
        known = self._usable_quietly()
        whole = np.round(times)
        between = np.interp(times, np.arange(len(known)), np.log(sigma_of(known)))
        return np.where(times == whole, known[whole.astype(int)], 1 / (1 + np.exp(2 * between)))

    def _usable_quietly(self) -> Floats:
        alpha_bars = self.alphas_cumprod.numpy()
        return np.asarray(alpha_bars[alpha_bars >= LOWEST_ALPHA_BAR])


def _betas(count: int, start: float, end: float, schedule: str, trained: Any) -> Floats:
    if trained is not None:
        betas = np.asarray(trained, dtype=np.float64)
        if betas.shape != (count,):
            raise ValueError(f"trained_betas must be num_train_timesteps = {count} numbers, got shape {betas.shape}")
        return betas
    if schedule == "linear":
        return np.linspace(start, end, count)
    if schedule == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, count) ** 2
    if schedule == "squaredcos_cap_v2":
        signal = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2) ** 2
        return np.asarray(np.minimum(1 - signal[1:] / signal[:-1], 0.999))
    raise ValueError(f'beta_schedule must be "linear", "scaled_linear" or "squaredcos_cap_v2", got {schedule!r}')


def _zero_terminal(alpha_bars: Floats) -> Floats:
    """Levels shifted and scaled so that the last has no signal (arXiv:2305.08891, Algorithm 1)."""
    roots = np.sqrt(alpha_bars)
    return np.asarray(((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2)
