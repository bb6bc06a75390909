"""Door: models are opened. Safetensors only, no code of theirs, every number finite, and a hash of what was read."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import torch

FLUSHED = 1 << 26  # bytes of a file that wait for the disk at most before it is told to take them
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


_STORED = {  # torch's name of a dtype -> that of safetensors
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


class Untrusted(ValueError):
    """A model that is not opened, with the reason in one sentence."""


@dataclass(frozen=True)
class Checkpoint:
    """A model folder that was looked at and found fit to open.

    Args:
        folder: where it is.
        config: its config.json.
        shards: its safetensors files, in the order of their names.
        places: parameter name -> the shard that holds it.
    """

    folder: Path
    config: Mapping[str, Any]
    shards: tuple[Path, ...]
    places: Mapping[str, Path]

    def sha256(self) -> str:
        """Hash of everything that decides what the model computes: config, weights, tokenizer."""
        digest = hashlib.sha256()
        named = {
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "tokenizer.model",
            "vocab.json",
            "merges.txt",
        }
        for file in sorted(p for p in self.folder.iterdir() if p.name in named or p in self.shards):
            digest.update(f"{file.name} {sha256_of(file)}\n".encode())
        return digest.hexdigest()


def sha256_of(file: Path) -> str:
    """Hash of a file's bytes."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(1 << 20))
    with file.open("rb", buffering=0) as opened:
        while size := opened.readinto(piece):  # long pieces: other threads are seldom made to wait
            digest.update(piece[:size])
    return digest.hexdigest()


def look_at(address: str | Path, *, online: bool = False) -> Checkpoint:
    """Look at a model folder, or the cached copy of a hub id, without loading it.

    Raises:
        Untrusted: not there, pickled weights, code of its own, a cut or inconsistent safetensors file, a file outside the
            folder. The sentence names the file.
    """
    folder = _folder(str(address), online=online)
    for file in sorted(folder.iterdir()):
        if file.is_symlink():
            _must_stay_inside(folder, file)
    config = _json(folder / "config.json", "a model folder needs a config.json")
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).exists() and "auto_map" in _json(folder / name, ""):
            raise Untrusted(f"{folder / name} asks to run code of its own (auto_map), which is never done here")
    shards, places = _shards(folder)
    return Checkpoint(folder, config, shards, places)


def tensors(
    files: Path | Checkpoint, *, device: str = "cpu", dtype: torch.dtype | None = None, finite: bool = True
) -> Iterator[tuple[str, torch.Tensor]]:
    """Read a safetensors file, or a checkpoint shard by shard, tensor by tensor from the mapped file.

    Args:
        files: what to read.
        device: where the tensors go.
        dtype: floating tensors are converted to it; None keeps what is stored.
        finite: refuse a tensor that holds NaN or infinity.

    Raises:
        Untrusted: not a whole safetensors file, or not finite; names file and tensor.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    for shard in files.shards if isinstance(files, Checkpoint) else (files,):
        if not shard.is_file():
            raise Untrusted(f"{shard} does not exist")
        try:
            with safe_open(shard, framework="pt", device=device) as opened:
                for name in sorted(opened.keys()):
                    tensor = opened.get_tensor(name)
                    if finite and tensor.is_floating_point() and not torch.isfinite(tensor).all():
                        raise Untrusted(f"{shard} holds NaN or infinity in {name}; a model must be finite")
                    yield name, tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        except SafetensorError as error:
            raise Untrusted(f"{shard} is not a whole safetensors file: {error}") from error


def metadata(file: Path) -> dict[str, str]:
    """What the header of a safetensors file says beside its tensors.

    Raises:
        Untrusted: not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise Untrusted(f"{file} does not exist")
    try:
        with safe_open(file, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except SafetensorError as error:
        raise Untrusted(f"{file} is not a whole safetensors file: {error}") from error


class Mapped:
    """The tensors of a checkpoint by name, each a view of the mapped file: nothing is read before it is looked at.

    Args:
        checkpoint: from `look_at`.

    Raises:
        Untrusted: a shard is not a whole safetensors file.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        from safetensors import SafetensorError, safe_open

        self.places = checkpoint.places
        self._shards: dict[Path, Any] = {}
        for shard in checkpoint.shards:
            try:
                self._shards[shard] = safe_open(shard, framework="pt")
            except (SafetensorError, OSError) as error:
                raise Untrusted(f"{shard} is not a whole safetensors file: {error}") from error

    def shape(self, name: str) -> tuple[int, ...]:
        """Read from the header."""
        return tuple(self._shards[self.places[name]].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """As safetensors writes it ("BF16", "F32", "I64"), from the header."""
        return str(self._shards[self.places[name]].get_slice(name).get_dtype())

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor, on the CPU, not yet looked at for NaN.

        Raises:
            Untrusted: stored in a way that torch cannot read.
        """
        from safetensors import SafetensorError

        try:
            tensor: torch.Tensor = self._shards[self.places[name]].get_tensor(name)
        except SafetensorError as error:
            raise Untrusted(f"{self.places[name]}: {name} cannot be read: {error}") from error
        return tensor


def write_tensors(
    file: Path,
    layout: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    make: Callable[[str], torch.Tensor],
    threads: Executor,
) -> None:
    """Write a safetensors file tensor by tensor: some are made while others are written, one held by each thread.

    Args:
        file: where; inside a folder or beside a place that `doors.files.writing` gave.
        layout: name -> (shape, dtype), in the order of the file.
        make: name -> tensor; runs in the threads.
        threads: that tensors are made in.

    Raises:
        OSError: the disk is full, or the file cannot be written.
        ValueError: a tensor is not what the layout says.
    """
    import torch

    words = {getattr(torch, name): word for name, word in _STORED.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, (shape, dtype) in layout.items():
        stop = start + torch.Size(shape).numel() * dtype.itemsize
        header[name] = {"dtype": words[dtype], "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    told = json.dumps(header, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)  # the data starts at a multiple of eight
    turn, unflushed, flushing = threading.Lock(), 0, list[Future[None]]()
    with file.open("wb", buffering=0) as opened, ThreadPoolExecutor(1) as flusher:
        opened.write(len(told).to_bytes(8, "little") + told)

        def put(name: str) -> None:
            nonlocal unflushed
            tensor = make(name)
            if (tuple(tensor.shape), tensor.dtype) != layout[name]:
                raise ValueError(f"{name} is {tuple(tensor.shape)} of {tensor.dtype}, which is not what was announced")
            content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
            with turn:
                opened.seek(8 + len(told) + header[name]["data_offsets"][0])
                _write_all(opened, content)
                unflushed += len(content)
                if unflushed >= FLUSHED:  # the disk takes it while the next is made, instead of all at the end
                    flushing.append(flusher.submit(os.fsync, opened.fileno()))
                    unflushed = 0

        largest_first = sorted(
            layout, key=lambda name: -torch.Size(layout[name][0]).numel()
        )  # no thread waits at the end
        for _ in threads.map(put, largest_first):
            pass  # the first that could not be made or written raises here
        for flushed in flushing:
            flushed.result()


def _write_all(opened: io.RawIOBase, content: memoryview) -> None:
    while content:  # a raw write may take less than it is given
        content = content[opened.write(content) :]


def causal_lm(
    checkpoint: Checkpoint, *, device: str = "cpu", dtype: str = "auto", attention: str = "sdpa"
) -> tuple[Any, Any]:
    """Open a causal language model and its tokenizer.

    Args:
        checkpoint: from `look_at`.
        device: "cpu", "cuda", ...
        dtype: "auto" (as stored), "float32", "bfloat16", "float16".
        attention: the attention implementation of transformers.

    Returns:
        (model in evaluation mode, tokenizer or None if the folder has none).

    Raises:
        Untrusted: weights not finite, or missing, or the tokenizer knows tokens that the model does not.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # libraries do not print
    _all_finite(checkpoint)
    folder = str(checkpoint.folder)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
            **_CLOSED,
        )
        model, report = loaded
    except _NO_MODEL as error:
        raise Untrusted(f"{folder} does not open as a causal language model: {str(error).splitlines()[0]}") from error
    if report["missing_keys"]:
        raise Untrusted(
            f"{folder} lacks the weights {', '.join(sorted(report['missing_keys'])[:3])}; is it a causal LM?"
        )
    return model.to(device).eval(), _fitting_tokenizer(checkpoint, model)


def fit_to_open(checkpoint: Checkpoint) -> None:
    """Find what `causal_lm` would refuse, one tensor at a time, without holding the model.

    Raises:
        Untrusted: weights not finite, an architecture that is no causal LM, or a tokenizer with tokens that the model lacks.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = str(checkpoint.folder)
    try:
        config = AutoConfig.from_pretrained(folder, **_CLOSED)
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except _NO_MODEL as error:
        raise Untrusted(f"{folder} does not open as a causal language model: {str(error).splitlines()[0]}") from error
    _fitting_tokenizer(checkpoint, skeleton)
    _all_finite(checkpoint)


_CLOSED: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_NO_MODEL = (ValueError, OSError, RuntimeError, KeyError)


def _all_finite(checkpoint: Checkpoint) -> None:
    for _ in tensors(checkpoint):  # reads every weight once, and refuses
        pass


def tokenizer(checkpoint: Checkpoint) -> Any:
    """The tokenizer of a checkpoint without its model; None if the folder has none."""
    from transformers import AutoTokenizer

    if not any((checkpoint.folder / n).exists() for n in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return None
    return AutoTokenizer.from_pretrained(str(checkpoint.folder), **_CLOSED)


def _fitting_tokenizer(checkpoint: Checkpoint, model: Any) -> Any:
    """The tokenizer of a checkpoint, if it has one, and it fits the model's embeddings."""
    found = tokenizer(checkpoint)
    rows = model.get_input_embeddings().weight.shape[0]
    if found is not None and len(found) > rows:
        raise Untrusted(
            f"the tokenizer in {checkpoint.folder} knows {len(found):,} tokens, but the model embeds only {rows:,}"
        )
    return found


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object that lies beside a model's weights.

    Raises:
        Untrusted: not there, not JSON, or no object; names the file.
    """
    return _json(file, "")


def _folder(address: str, *, online: bool) -> Path:
    folder = Path(address).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise Untrusted(f"{folder} is a file; a model is a folder with config.json and safetensors")
    if address.count("/") != 1 or address.startswith((".", "/", "~")):
        raise Untrusted(f"the model folder {address} does not exist")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
        return Path(snapshot_download(address, local_files_only=not online, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as error:
        raise Untrusted(
            f"there is no folder {address}, and no model of that name in the hub's cache on this machine; "
            "pass a folder, or download it first"
        ) from error


def _must_stay_inside(folder: Path, link: Path) -> None:
    """A link may lead to a file of the same folder, or from a snapshot of the hub's cache to its store of blobs."""
    target, home = link.resolve(), folder.resolve()
    stores = [home]
    if home.parent.name == "snapshots" and home.parent.parent.name.startswith("models--"):
        stores.append(home.parent.parent / "blobs")
    if not any(target.is_relative_to(store) for store in stores):
        raise Untrusted(f"{link} is a link to {target}, which lies outside the folder; copy the file in its place")


def _json(file: Path, otherwise: str) -> dict[str, Any]:
    if not file.is_file():
        raise Untrusted(f"{file} does not exist; {otherwise}" if otherwise else f"{file} does not exist")
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Untrusted(f"{file} is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise Untrusted(f"{file} must hold one JSON object")
    return read


def _shards(folder: Path) -> tuple[tuple[Path, ...], dict[str, Path]]:
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    if index.exists():
        mapped = _json(index, "").get("weight_map")
        if not isinstance(mapped, dict) or not all(isinstance(v, str) for v in mapped.values()):
            raise Untrusted(f"{index} has no weight_map from parameter to file")
        names = sorted(set(mapped.values()))
    else:
        mapped = None
        names = sorted(p.name for p in folder.glob("*.safetensors"))
    if not names:
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickled:
            raise Untrusted(
                f"{folder} holds its weights as a pickle ({pickled[0]}), which can run any code when it is read; "
                "save the model again with safe_serialization=True"
            )
        raise Untrusted(f"{folder} holds no safetensors file")
    places: dict[str, Path] = {}
    for name in names:
        shard = folder / name
        if Path(name).name != name:
            raise Untrusted(f"{index} names {name}, which lies outside the folder")
        if not shard.is_file():
            raise Untrusted(f"{shard} does not exist, but {index.name} names it")
        try:
            with safe_open(shard, framework="numpy") as opened:
                places.update(dict.fromkeys(opened.keys(), shard))
        except SafetensorError as error:
            raise Untrusted(f"{shard} is not a whole safetensors file: {error}") from error
    if mapped is not None:
        for parameter, name in mapped.items():
            if places.get(parameter) != folder / name:
                raise Untrusted(f"{index} says that {parameter} lies in {name}, but it does not")
    return tuple(folder / name for name in names), places
