"""A merge that was checked and can be had: as tensors, as a state dict, as a live model, as a folder."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tameshi.doors import models as door
from tameshi.doors.screen import plain
from tameshi.merging import folder
from tameshi.merging.layers import layers
from tameshi.merging.pieces import AT_ONCE, PIECE
from tameshi.merging.weights import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Recipe:
    """How a merge was made, for people and for doing it again.

    Args:
        method: name of the method.
        title: of the method, for people.
        papers: arXiv ids of the method.
        settings: everything that the result depends on, as plain values.
    """

    method: str
    title: str
    papers: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Merged:
    """The result of a merge. Nothing is computed before it is asked for; a tensor at a time is.

    Args:
        recipe: how it was made.
        sources: role or label -> the weights that went in.
        shapes: name -> shape of the result.
        dtypes: name -> storage type of the result.
        compute: name -> the merged tensor.
        looks: whose configuration, tokenizer and chat template the result takes.
        notes: what was found on the way, one sentence each.
    """

    recipe: Recipe
    sources: Mapping[str, Weights]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    compute: Callable[[str], Tensor]
    looks: Weights
    notes: tuple[str, ...] = ()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) in the order of depth, one at a time."""
        for names in layers(self.shapes).values():
            for name in names:
                yield name, self.compute(name)

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors, in memory; what was tied is tied."""
        state = dict(self.tensors())
        return state | {name: state[kept] for name, kept in self._skeleton.tied.items()}

    def model(self) -> PreTrainedModel:
        """A live transformers model: a copy of the model that was given, or one opened from a folder of the result.

        Raises:
            ValueError: only state dicts were given, which do not say what model they are of.
        """
        live = self._skeleton.live
        if live is None:
            with tempfile.TemporaryDirectory(prefix="tameshi-") as scratch:
                self.save_pretrained(Path(scratch) / "model", hashes=False)
                opened: PreTrainedModel = door.causal_lm(door.look_at(Path(scratch) / "model"))[0]
                return opened
        made = copy.deepcopy(live)
        for name, shape in self.shapes.items():
            if tuple(made.state_dict()[name].shape) != shape:
                made.resize_token_embeddings(shape[0], mean_resizing=False)
        kept = made.state_dict()
        with torch.no_grad():
            for name, tensor in self.tensors():
                kept[name].copy_(tensor)
        return made

    def save_pretrained(self, out: str | Path, *, shard_bytes: int = 5 * GIGABYTE, hashes: bool = True) -> Path:
        """Write a model folder that plain transformers opens: it appears whole or not at all.

        Args:
            out: a new or empty folder.
            shard_bytes: of one safetensors file at most, unless a tensor is larger.
            hashes: put the sha256 of every input file on the model card.

        Raises:
            NotWritten: the place is taken, or the disk is too small or full; nothing is left.
            ValueError: no configuration is known (only state dicts were given).
        """
        return folder.write(self, Path(out), shard_bytes=shard_bytes, hashes=hashes)

    @property
    def bytes(self) -> int:
        """Of the weights that are written."""
        return sum(torch.Size(shape).numel() * self.dtypes[name].itemsize for name, shape in self.shapes.items())

    @property
    def memory(self) -> int:
        """Bytes beyond the mapped files that writing needs at most: a result and a few pieces for each of the threads."""
        largest = max(torch.Size(shape).numel() * self.dtypes[name].itemsize for name, shape in self.shapes.items())
        return AT_ONCE * (largest + 4 * PIECE * (2 * len(self.sources) + 4))

    def plan(self) -> str:
        """What would be done, for people."""
        entries = sum(torch.Size(shape).numel() for shape in self.shapes.values())
        lines = [f"{self.recipe.title}: {len(self.shapes):,} tensors, {entries:,} numbers"]
        lines += [
            f"  {plain(role)}: {plain(weights.label)} ({_size(weights.bytes)})"
            for role, weights in self.sources.items()
        ]
        lines.append(f"  writes {_size(self.bytes)}, needs {_size(self.memory)} of memory beyond the mapped files")
        lines.append(f"  configuration, tokenizer and chat template of {plain(self.looks.label)}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    @property
    def _skeleton(self) -> Weights:
        return next(iter(self.sources.values()))


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
