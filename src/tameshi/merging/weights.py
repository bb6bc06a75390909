"""The weights of a model by name, wherever they are: a folder, a live model, a state dict, an adapter on its base.

Folders are read from the mapped file, one tensor at a time. A tensor that a model ties to another (a head that is the
embedding) is listed once, under the name that its folder would use.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tameshi.doors import models as door
from tameshi.merging.lora import LowRank, lora_factors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLOATING = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
_WHOLE = {
    "I8": torch.int8,
    "U8": torch.uint8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Weights:
    """The named tensors of one model.

    Args:
        label: what messages call the model: its folder or its kind.
        shapes: name -> shape, in the order of the names.
        dtypes: name -> storage type.
        read: name -> tensor, a view where the storage allows it.
        place: name -> the file (or model) that holds it, for messages.
        config: of the model; empty for a bare state dict.
        folder: that it came from; None for what lives in memory.
        live: the transformers model that it is, if it is one.
        tied: names that are the same tensor as a listed one -> that name.
        files: the safetensors files, for hashes; empty for what lives in memory.
        sound: names that were found finite in the files, which are not looked at twice.
    """

    label: str
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    read: Callable[[str], Tensor]
    place: Callable[[str], str]
    config: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    live: PreTrainedModel | None = None
    tied: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    sound: set[str] = field(default_factory=set, compare=False, repr=False)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def floating(self, name: str) -> bool:
        """Whether the tensor is merged; others (indices, caches) are copied."""
        return self.dtypes[name].is_floating_point

    @property
    def bytes(self) -> int:
        """Of all tensors, as stored."""
        return sum(torch.Size(self.shapes[n]).numel() * self.dtypes[n].itemsize for n in self.shapes)


def weights_of(source: Any, *, base: Any = None) -> Weights:
    """The weights of whatever stands for a model.

    Args:
        source: a folder or hub id, a `PreTrainedModel`, a state dict, a PEFT adapter's folder, or `Weights` already.
        base: what an adapter is merged into; left out, the base that the adapter names.

    Raises:
        ValueError: the source is not to be trusted, is quantised, or is of no kind known here.
    """
    if isinstance(source, Weights):
        return source
    if isinstance(source, (str, Path)):
        if (Path(source).expanduser() / "adapter_config.json").is_file():
            return _of_adapter(Path(source).expanduser(), base)
        return _of_folder(door.look_at(source))
    if isinstance(source, Mapping):
        return _of_state_dict(source, "a state dict")
    if hasattr(source, "state_dict") and hasattr(source, "config"):
        return _of_model(source)
    raise TypeError(
        f"a model is a folder, a PreTrainedModel or a state dict, got {type(source).__name__}; "
        "for a plain module pass module.state_dict()"
    )


def _of_folder(checkpoint: door.Checkpoint) -> Weights:
    _refuse_quantised(checkpoint.config, checkpoint.folder / "config.json")
    mapped = door.Mapped(checkpoint)
    shapes, dtypes = {}, {}
    for name in sorted(checkpoint.places):
        stored = mapped.dtype(name)
        if stored not in FLOATING and stored not in _WHOLE:
            raise ValueError(
                f"{checkpoint.places[name]} stores {name} as {stored}, a quantised type; merge the unquantised weights"
            )
        shapes[name] = mapped.shape(name)
        dtypes[name] = FLOATING.get(stored) or _WHOLE[stored]
    return Weights(
        label=str(checkpoint.folder),
        shapes=shapes,
        dtypes=dtypes,
        read=mapped.tensor,
        place=lambda name: str(checkpoint.places.get(name, checkpoint.folder)),
        config=checkpoint.config,
        folder=checkpoint.folder,
        files=checkpoint.shards,
    )


def _of_state_dict(state: Mapping[str, Tensor], label: str, **more: Any) -> Weights:
    seen: dict[tuple[Any, ...], str] = {}
    listed: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name in sorted(state):
        tensor = state[name].detach()
        same = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and same in seen:
            tied[name] = seen[same]
        else:
            listed[name] = tensor
            seen[same] = name
    for name in [n for n, kept in tied.items() if n.endswith("embed_tokens.weight") and not kept.endswith(n)]:
        kept = tied.pop(name)  # a folder lists the embedding and leaves out the head
        listed[name] = listed.pop(kept)
        tied.update({other: name for other, first in tied.items() if first == kept}, **{kept: name})
    return Weights(
        label=label,
        shapes={n: tuple(listed[n].shape) for n in sorted(listed)},
        dtypes={n: listed[n].dtype for n in sorted(listed)},
        read=lambda name: listed[name].cpu(),
        place=lambda name: label,
        tied=tied,
        **more,
    )


def _of_model(model: Any) -> Weights:
    _refuse_quantised(model.config.to_dict(), type(model).__name__)
    return _of_state_dict(
        model.state_dict(), f"the {type(model).__name__} in memory", config=model.config.to_dict(), live=model
    )


def _of_adapter(folder: Path, base: Any) -> Weights:
    """A PEFT adapter merged into its base: plain LoRA on a folder tensor by tensor, all else in memory by peft."""
    if not (folder / "adapter_model.safetensors").is_file():
        raise door.Untrusted(
            f"{folder} holds no adapter_model.safetensors; save the adapter with safe_serialization=True"
        )
    stored = dict(door.tensors(folder / "adapter_model.safetensors"))
    settings = door.read_json(folder / "adapter_config.json")
    if base is None:
        base = settings.get("base_model_name_or_path")
        if not base:
            raise ValueError(f"{folder / 'adapter_config.json'} names no base model; pass the base beside the adapter")
    around = weights_of(base) if isinstance(base, (str, Path, Weights)) else None
    if around is not None and around.folder and (factors := lora_factors(settings, stored, around.shapes)) is not None:
        return _with_lora(around, factors, folder)
    return _merged_by_peft(folder, base)


def _with_lora(base: Weights, factors: Mapping[str, LowRank], folder: Path) -> Weights:
    """The base, to whose tensors the products are added as they are read."""

    def read(name: str) -> Tensor:
        tensor = base.read(name)
        return factors[name].added_to(tensor) if name in factors else tensor

    file = folder / "adapter_model.safetensors"
    return replace(
        base,
        label=f"the adapter {folder}",
        read=read,
        place=lambda name: str(file) if name in factors else base.place(name),
        files=(file, *base.files),
        sound=set(),
    )


def _merged_by_peft(folder: Path, base: Any) -> Weights:
    """What peft's own `merge_and_unload` gives, on a copy of the base in memory."""
    from peft import PeftModel

    if isinstance(base, Weights):
        base = base.live if base.live is not None else base.folder
    if isinstance(base, (str, Path)):
        model, _ = door.causal_lm(door.look_at(base))
    elif hasattr(base, "state_dict") and hasattr(base, "config"):
        import copy

        model = copy.deepcopy(base)
    else:
        raise TypeError(f"the adapter in {folder} needs a folder or a PreTrainedModel as its base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in a way that is going away
        merged = PeftModel.from_pretrained(model, str(folder), local_files_only=True).merge_and_unload()
    state = _of_model(merged)
    return Weights(
        label=f"the adapter {folder}",
        shapes=state.shapes,
        dtypes=state.dtypes,
        read=state.read,
        place=lambda name: str(folder / "adapter_model.safetensors"),
        config=state.config,
        folder=None,
        live=merged,
        tied=state.tied,
        files=(folder / "adapter_model.safetensors",),
    )


def _refuse_quantised(config: Mapping[str, Any], where: object) -> None:
    if config.get("quantization_config"):
        raise ValueError(f"{where} has a quantization_config; a merge needs the unquantised weights of the model")
