"""A causal language model as a subject: a specimen of ours, any local model folder, or a model in the hub's cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tameshi.doors import models

SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True)
class CausalLM:
    """A model ready to be read with.

    Args:
        name: for people: "specimen:modes", or the folder as given.
        fingerprint: sha256 of config, weights and tokenizer.
        checkpoint: the folder that was looked at.
        device: where the model goes.
        dtype: "auto" (as stored), "float32", ...
    """

    name: str
    fingerprint: str
    checkpoint: models.Checkpoint
    device: str = "cpu"
    dtype: str = "auto"

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        """Look at "specimen:NAME", a folder, or a hub id. The weights are read when `model` is first asked for.

        Raises:
            ValueError: not there, not trusted, or a specimen whose bytes are not those that were shipped.
        """
        if dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise ValueError(f"--dtype takes auto, float32, bfloat16 or float16, got {dtype!r}")
        specimen = address.removeprefix("specimen:") if address.startswith("specimen:") else None
        if specimen is None:
            checkpoint = models.look_at(address, online=online)
            models.fit_to_open(checkpoint)
            return cls(address, checkpoint.sha256(), checkpoint, device, dtype)
        there = sorted(file.stem for file in SHIPPED.glob("*.sha256"))
        if specimen not in there:
            raise ValueError(f"there is no specimen model {specimen!r}; there are {', '.join(there)}")
        checkpoint = models.look_at(SHIPPED / specimen)
        shipped = (SHIPPED / f"{specimen}.sha256").read_text(encoding="utf-8").split()[0]
        found = checkpoint.sha256()
        if found != shipped:
            raise models.Untrusted(
                f"{checkpoint.folder} is not the specimen that was shipped (sha256 {found[:12]}, not {shipped[:12]})"
            )
        return cls(address, found, checkpoint, device, dtype)

    @property
    def is_specimen(self) -> bool:
        return self.name.startswith("specimen:")

    @cached_property
    def model(self) -> Any:
        """The transformers model, in evaluation mode on its device; kept once it was asked for."""
        return self.fresh()

    def fresh(self) -> Any:
        """The same model opened anew and kept by nobody, for a check that looks at several in turn."""
        return models.causal_lm(self.checkpoint, device=self.device, dtype=self.dtype)[0]

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer; the weights are not read for it.

        Raises:
            ValueError: the folder has none.
        """
        found = models.tokenizer(self.checkpoint)
        if found is None:
            raise ValueError(f"{self.name} has no tokenizer; this needs one beside the weights")
        return found
