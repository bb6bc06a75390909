"""A diffusion pipeline of the user's own: a local folder in the format of diffusers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

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
