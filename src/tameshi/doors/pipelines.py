"""Door: diffusion pipelines are opened. Local folders of diffusers, safetensors only, no code of theirs."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tameshi.doors.models import PICKLES, Untrusted, sha256_of, tensors

OURS = "tameshi.diffusion.accelerated"  # of a pipeline that was saved with our scheduler
LIBRARIES = ("diffusers", "transformers", OURS)


@dataclass(frozen=True)
class Folder:
    """A pipeline folder that was looked at and found fit to open.

    Args:
        path: where it is.
        kind: the class of the pipeline.
        weights: its safetensors files.
    """

    path: Path
    kind: str
    weights: tuple[Path, ...]

    def sha256(self) -> str:
        """Hash of everything that decides what the pipeline computes."""
        digest = hashlib.sha256()
        for file in sorted(
            p for p in self.path.rglob("*") if p.is_file() and p.suffix in {".json", ".safetensors", ".txt", ".model"}
        ):
            digest.update(f"{file.relative_to(self.path).as_posix()} {sha256_of(file)}\n".encode())
        return digest.hexdigest()


def look_at(address: str | Path) -> Folder:
    """Look at a pipeline folder without loading it.

    Raises:
        Untrusted: not there, components of other libraries, pickled weights, code, a file outside the folder. The sentence
            names the file.
    """
    path = Path(address).expanduser()
    index = path / "model_index.json"
    if not index.is_file():
        raise Untrusted(f"{path} is no folder of a diffusers pipeline: {index} does not exist")
    try:
        named = json.loads(index.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Untrusted(f"{index} is not JSON: {error}") from error
    if not isinstance(named, dict) or not re.fullmatch(r"\w+Pipeline", str(named.get("_class_name"))):
        raise Untrusted(f"{index} does not name a pipeline of diffusers")
    for component, place in named.items():
        if component.startswith("_") or not isinstance(place, list):
            continue
        if len(place) != 2 or not (place[0] is None or place[0] in LIBRARIES):
            raise Untrusted(f"{index} takes {component} from {place[0]!r}; only diffusers and transformers are opened")
        config = path / component / "config.json"
        if config.is_file() and "auto_map" in config.read_text(encoding="utf-8"):
            raise Untrusted(f"{config} asks to run code of its own (auto_map), which is never done here")
    home = path.resolve()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        if not file.resolve().is_relative_to(home):
            raise Untrusted(f"{file} leads out of the folder")
        if file.suffix in PICKLES:
            raise Untrusted(
                f"{file} is a pickle, which can run any code when it is read; save the pipeline again with safetensors"
            )
        if file.suffix == ".py":
            raise Untrusted(f"{file} is code, which is never run here")
    weights = tuple(sorted(path.rglob("*.safetensors")))
    if not weights:
        raise Untrusted(f"{path} holds no safetensors file")
    return Folder(path, str(named["_class_name"]), weights)


def pipeline(folder: Folder, *, device: str = "cpu", dtype: str = "auto") -> Any:
    """Open the pipeline.

    Raises:
        Untrusted: weights not finite, or the folder does not open as what it says it is.
    """
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as their_words
    from transformers.utils import logging as more_words

    for words in (their_words, more_words):
        words.disable_progress_bar()  # libraries do not print
    for file in folder.weights:
        for _ in tensors(file):  # reads every weight once: cut files and NaN are found before anything is built
            pass
    kind = {} if dtype == "auto" else {"torch_dtype": getattr(torch, dtype)}
    try:
        opened: Any = DiffusionPipeline.from_pretrained(  # type: ignore[no-untyped-call]  # diffusers has it untyped
            str(folder.path), use_safetensors=True, local_files_only=True, trust_remote_code=False, **kind
        )
    except (ValueError, OSError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise Untrusted(f"{folder.path} does not open as a {folder.kind}: {str(error).splitlines()[0]}") from error
    opened.set_progress_bar_config(disable=True)
    return opened.to(device)
