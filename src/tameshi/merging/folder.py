"""Writing a merge as a model folder: shards, index, configuration, tokenizer, chat template, model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from tameshi.doors import files
from tameshi.doors import models as door
from tameshi.doors.screen import plain
from tameshi.merging.layers import layers
from tameshi.merging.pieces import is_finite, side_by_side

if TYPE_CHECKING:
    from tameshi.merging.merged import Merged, Recipe

Layout = dict[str, tuple[tuple[int, ...], torch.dtype]]

BESIDE = (  # what decides how a model is spoken to, copied as it is
    *("generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json"),
)


def write(merged: Merged, out: Path, *, shard_bytes: int, hashes: bool) -> Path:
    """Write a merge; see `Merged.save_pretrained`."""
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes must be at least 1, got {shard_bytes}")
    if merged.looks.folder is None and merged._skeleton.live is None:
        raise ValueError(
            f"{merged.looks.label} has no configuration, so no model folder can be written; "
            "give folders or PreTrainedModels, or take state_dict()"
        )
    _refuse_full_disk(out, merged.bytes)
    with files.writing(out, folder=True) as beside:
        fill(merged, beside, shard_bytes=shard_bytes, hashes=hashes)
    return out


def fill(merged: Merged, beside: Path, *, shard_bytes: int, hashes: bool) -> None:
    """Write everything into a folder that is not yet in its place; the inputs are hashed while the weights are made."""
    with ThreadPoolExecutor(3) as hashers:
        read = sorted({file for weights in merged.sources.values() for file in weights.files}) if hashes else []
        digests = {file: hashers.submit(door.sha256_of, file) for file in read}
        try:
            if merged.looks.folder is None:
                merged.model().save_pretrained(beside)
            else:
                _write_shards(merged, beside, shard_bytes)
                _write_config(merged, beside)
                for name in BESIDE:
                    if (merged.looks.folder / name).is_file():
                        files.write(beside / name, (merged.looks.folder / name).read_bytes())
            files.write(beside / "README.md", card(merged.recipe, merged.sources, digests))
        finally:
            for digest in digests.values():
                digest.cancel()


def _refuse_full_disk(out: Path, needed: int) -> None:
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise files.NotWritten(f"{out} needs {needed:,} bytes, but {there} has {free:,} free; choose another disk")


def shards(merged: Merged, shard_bytes: int) -> list[Layout]:
    """The tensors in the order of depth, cut into files of at most `shard_bytes`."""
    found: list[Layout] = [{}]
    size = 0
    for name in (n for names in layers(merged.shapes).values() for n in names):
        own = torch.Size(merged.shapes[name]).numel() * merged.dtypes[name].itemsize
        if found[-1] and size + own > shard_bytes:
            found.append({})
            size = 0
        found[-1][name] = (merged.shapes[name], merged.dtypes[name])
        size += own
    return found


def _write_shards(merged: Merged, beside: Path, shard_bytes: int) -> None:
    def made(name: str) -> Tensor:
        tensor = merged.compute(name)
        if tensor.dtype == torch.float16 and not is_finite(tensor):
            raise ValueError(f"{plain(name)} is too large for float16 (above 65,504); choose bfloat16 or float32")
        return tensor

    parts = shards(merged, shard_bytes)
    where: dict[str, str] = {}
    with side_by_side() as threads:
        for number, part in enumerate(parts, 1):
            numbered = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
            file = numbered if len(parts) > 1 else "model.safetensors"
            door.write_tensors(beside / file, part, made, threads)
            where |= dict.fromkeys(part, file)
    if len(parts) == 1:
        return
    index = {"metadata": {"total_size": merged.bytes}, "weight_map": dict(sorted(where.items()))}
    files.write(beside / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")


def _write_config(merged: Merged, beside: Path) -> None:
    config: dict[str, Any] = json.loads(json.dumps(dict(merged.looks.config)))
    config.pop("_name_or_path", None)
    kinds = [d for d in merged.dtypes.values() if d.is_floating_point]
    stored = str(max(set(kinds), key=kinds.count)).removeprefix("torch.")
    for key in ("dtype", "torch_dtype"):
        if key in config:
            config[key] = stored
    if "dtype" not in config and "torch_dtype" not in config:
        config["dtype"] = stored
    files.write(beside / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def card(recipe: Recipe, sources: Mapping[str, Any], digests: Mapping[Path, Future[str]]) -> str:
    """The model card: recipe, inputs with their hashes, papers."""
    head = {"library_name": "transformers", "tags": ["merge", "tameshi", recipe.method]}
    told = yaml.safe_dump({"method": recipe.method, **recipe.settings}, sort_keys=False, allow_unicode=True)
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# Merged by {recipe.title}", ""]
    lines += ["## Recipe", "", "```yaml", told.strip(), "```", "", "## Inputs", ""]
    for role, weights in sources.items():
        lines.append(f"- `{role}`: {weights.label}")
        lines += [f"  - `{file.name}` sha256 `{digests[file].result()}`" for file in weights.files if file in digests]
    if recipe.papers:
        lines += [
            "",
            "## Papers",
            "",
            *(f"- [arXiv:{paper}](https://arxiv.org/abs/{paper})" for paper in recipe.papers),
        ]
    return "\n".join(lines) + "\n"
