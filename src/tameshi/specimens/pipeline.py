"""A diffusion pipeline of the user's own: a local folder in the format of diffusers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import torch

from tameshi.doors import pipelines


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Looked at when it is opened, loaded when it is first used.

    Args:
        name: for people.
        fingerprint: sha256 of its configuration and weights.
        folder: as it was looked at.
        device, dtype: where and how it is loaded.
    """

    name: str
    fingerprint: str
    folder: pipelines.Folder = field(repr=False)
    device: str = "cpu"
    dtype: str = "auto"

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        """Look at a pipeline folder.

        Raises:
            ValueError: no such folder, pickled weights, code of its own.
        """
        folder = pipelines.look_at(address)
        return cls(str(address), folder.sha256(), folder, device, dtype)

    @cached_property
    def loaded(self) -> Any:
        """The diffusers pipeline."""
        return pipelines.pipeline(self.folder, device=self.device, dtype=self.dtype)

    @property
    def takes_words(self) -> bool:
        """Whether it is asked with a prompt."""
        return hasattr(self.loaded, "tokenizer")

    def draw(
        self,
        scheduler: Any,
        *,
        images: int,
        steps: int,
        seed: int,
        prompt: str = "",
        kind: Literal["pil", "np", "latent"],
    ) -> Any:
        """Draw under another scheduler; image k has a generator of its own, with the seed `seed` + k.

        Args:
            scheduler: made from the configuration of the pipeline's own, which is put back afterwards.
            images: how many, in one batch.
            steps: `num_inference_steps`.
            seed: of the first image.
            prompt: for pipelines that take words; others leave it out.
            kind: what is drawn: images, arrays of pixels, or (from those that take words) latents.

        Returns:
            As many images or arrays, as the pipeline gives them.
        """
        pipeline, own = self.loaded, self.loaded.scheduler
        generators = [torch.Generator().manual_seed(seed + k) for k in range(images)]
        common = {"num_inference_steps": steps, "generator": generators, "output_type": kind}
        pipeline.scheduler = scheduler
        try:
            asked = pipeline([prompt] * images, **common) if self.takes_words else pipeline(batch_size=images, **common)
        finally:
            pipeline.scheduler = own
        return asked.images
