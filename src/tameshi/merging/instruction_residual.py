"""The instruction residual: what instruction tuning changed, added to a base that has learnt something new since.

Jindal et al. 2024, arXiv:2410.10739: `Theta_r = theta_instruct - theta_base`, and after continued pre-training of the
base, `theta = theta_base_cpt + lambda Theta_r`. The paper adds with lambda 1; the scale is our parameter.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tameshi.doors import files
from tameshi.doors import models as door
from tameshi.merging import folder
from tameshi.merging.fit import SAMPLED, DoesNotFit, Resize, check_fit
from tameshi.merging.layers import layers
from tameshi.merging.merge import merge
from tameshi.merging.merged import Merged, Recipe
from tameshi.merging.method import number
from tameshi.merging.pieces import cosine, gram, gram_of_changes, side_by_side
from tameshi.merging.weights import Weights, weights_of

PAPERS = ("2410.10739",)
INTERFERES, TWICE = 0.3, 0.5  # cosines of residual and continued pre-training: a warning each
LEFT, RIGHT = ".left", ".right"  # names of the factors of a low-rank residual


@dataclass(frozen=True)
class LayerReport:
    """One layer of a diagnosis.

    Args:
        layer: its name.
        relative: length of the residual over the length of the base's weights.
        cosine: of the residual with what continued pre-training changed; near 0 means that they do not get in each
            other's way.
    """

    layer: str
    relative: float
    cosine: float


@dataclass(frozen=True)
class InstructionResidual:
    """What instruction tuning changed: `InstructionResidual.extract("base",
    "instruct").apply("cpt").save_pretrained("out")`.

    An extracted residual holds the two models and subtracts where it is used, so on the base itself it gives the
    instruct model bit by bit. A loaded one holds the float32 differences.

    Args:
        base: the model before instruction tuning; None for a loaded residual.
        instruct: the model after it; None for a loaded residual.
        saved: the differences, of a loaded residual.
    """

    base: Weights | None = None
    instruct: Weights | None = None
    saved: Weights | None = None

    @classmethod
    def extract(cls, base: Any, instruct: Any, *, resize: Resize = "no") -> InstructionResidual:
        """The residual of two models.

        Args:
            base, instruct: folders, models or state dicts of one architecture; adapters for `instruct`.
            resize: "min-rows" where the instruct model has more tokens.

        Raises:
            DoesNotFit: they are not of one architecture, or the second does not descend from the first.
        """
        origin, tuned = weights_of(base), weights_of(instruct, base=base)
        check_fit({"instruct": tuned}, origin, resize=resize)
        return cls(origin, tuned)

    def apply(self, target: Any, scale: float = 1.0, *, dtype: str | None = None, resize: Resize = "no") -> Merged:
        """`theta_target + scale * Theta_r`, with the tokenizer and chat template of the instruct model.

        Args:
            target: the base after continued pre-training.
            scale: the paper has 1.
            dtype: of the result; None for the target's.
            resize: "min-rows": the residual is added on the rows that all have, the instruct model's other rows are
                copied.

        Raises:
            DoesNotFit: the target is of another architecture.
        """
        scale = number("scale", scale)
        if self.base is None or self.instruct is None:
            assert self.saved is not None  # one of the two ways to make one
            merged = merge(
                {"residual": self.saved},
                method="add",
                base=target,
                weights=scale,
                dtype=dtype,
                resize=resize,
                tokenizer="residual" if self.saved.folder else None,
                allow_unrelated=True,
            )
            sources = {"target" if role == "base" else role: w for role, w in merged.sources.items()}
            merged = replace(merged, sources=sources)
        else:
            place = weights_of(target, base=self.base)
            merged = merge(
                {"instruct": self.instruct},
                method="transplant",
                base=self.base,
                target=place,
                weights=scale,
                dtype=dtype,
                resize=resize,
                tokenizer="instruct",
            )
            if (near := self._sampled_cosine(place)) > TWICE:
                warnings.warn(
                    f"{place.label} already moved along the residual (cosine {near:.2f}); if it was started from the "
                    "instruct model, the residual is added twice",
                    stacklevel=2,
                )
        told = {role: weights.label for role, weights in merged.sources.items()} | {"scale": scale}
        return replace(merged, recipe=Recipe("instruction-residual", "the instruction residual", PAPERS, told))

    def save(self, out: str | Path, *, rank: int | None = None) -> Path:
        """Write the differences as a folder: float32 safetensors, the instruct model's tokenizer, and `residual.json`.

        Args:
            out: a new or empty folder.
            rank: keep only so many singular directions of every matrix; `residual.json` tells the share of the
                squared length that is kept. Vectors are kept whole.

        Raises:
            ValueError: the residual was itself loaded, or the rank is below 1.
            NotWritten: the place is taken or the disk is full.
        """
        if self.base is None or self.instruct is None:
            raise ValueError("this residual was loaded from a folder; copy that folder instead of saving it again")
        if rank is not None and rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        difference = merge(
            {"instruct": self.instruct}, method="difference", base=self.base, dtype="float32", tokenizer="instruct"
        )
        told: dict[str, Any] = {
            "kind": "instruction-residual",
            "base": {"path": self.base.label, "sha256": _digests(self.base)},
            "instruct": {"path": self.instruct.label, "sha256": _digests(self.instruct)},
            "scale": 1.0,
            "scale_note": "the paper adds with 1; 0.5 to 1.25 is worth trying on a validation set",
            "rank": rank,
        }
        recipe = Recipe("difference", "the instruction residual, extracted", PAPERS, {"rank": rank, **told})
        with files.writing(out, folder=True) as beside:
            made = replace(difference, recipe=recipe)
            if rank is not None:
                made, told["kept"] = _factored(made, rank)
            if self.instruct.folder is None:
                config = {**self.instruct.config}
                files.write(beside / "config.json", json.dumps(config, indent=2, default=str) + "\n")
                layout = {name: (made.shapes[name], made.dtypes[name]) for name in made.shapes}
                with side_by_side() as threads:
                    door.write_tensors(beside / "model.safetensors", layout, made.compute, threads)
            else:
                folder.fill(made, beside, shard_bytes=5_000_000_000, hashes=False)
            files.write(beside / "residual.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
        return Path(out)

    @classmethod
    def load(cls, source: str | Path) -> InstructionResidual:
        """A residual that was saved.

        Raises:
            ValueError: the folder holds none.
        """
        place = Path(source).expanduser()
        if not (place / "residual.json").is_file():
            raise ValueError(
                f"{place} has no residual.json; it is not a saved residual, make one with extract and save"
            )
        stored = weights_of(place)
        return cls(saved=_unfactored(stored) if any(n.endswith(LEFT) for n in stored.shapes) else stored)

    def diagnose(self, base: Any, cpt: Any) -> list[LayerReport]:
        """Per layer, how large the residual is and whether it points where continued pre-training went.

        Args:
            base: the model before either training.
            cpt: the base after continued pre-training.

        Raises:
            DoesNotFit: the models are not of one architecture.
        """
        origin, moved = weights_of(base), weights_of(cpt, base=base)
        check_fit({"cpt": moved}, origin)
        found = []
        for layer, names in layers([n for n in origin.shapes if origin.floating(n)]).items():
            total = torch.zeros(3, 3, dtype=torch.float64)
            for name in names:
                total += gram(_three, origin.read(name), self._residual(name), moved.read(name))
            length = math.sqrt(float(total[0, 0]))
            relative = math.sqrt(float(total[1, 1])) / length if length else math.inf
            found.append(LayerReport(layer, relative, cosine(total, 1, 2)))
        return found

    def _residual(self, name: str) -> Tensor:
        if self.saved is not None:
            return self.saved.read(name)
        origin, after = self._models
        ours, tuned = origin.read(name), after.read(name)
        if ours.shape != tuned.shape:
            raise DoesNotFit(f"{name} is {tuple(ours.shape)} before and {tuple(tuned.shape)} after instruction tuning")
        return tuned.float() - ours.float()

    @property
    def _models(self) -> tuple[Weights, Weights]:
        if self.base is None or self.instruct is None:
            raise ValueError("this residual was loaded and holds only the differences")
        return self.base, self.instruct

    def _sampled_cosine(self, target: Weights) -> float:
        """Cosine of the residual with what happened to the target, over a sample of each matrix."""
        base, instruct = self._models
        total = torch.zeros(2, 2, dtype=torch.float64)
        for name, shape in base.shapes.items():
            same = target.shapes.get(name) == shape == instruct.shapes.get(name)
            if same and len(shape) > 1 and base.floating(name):
                parts = (w.read(name).reshape(-1)[:SAMPLED] for w in (base, instruct, target))
                total += gram_of_changes(*parts)
        return cosine(total, 0, 1)


def _three(origin: Tensor, residual: Tensor, moved: Tensor) -> list[Tensor]:
    return [origin, residual, moved.sub_(origin)]


def _digests(weights: Weights) -> Mapping[str, str]:
    return {file.name: door.sha256_of(file) for file in weights.files}


def _factored(difference: Merged, rank: int) -> tuple[Merged, dict[str, float]]:
    """Every matrix as two factors of the given rank, and the share of each one's squared length that is kept."""
    factors: dict[str, Tensor] = {}
    kept: dict[str, float] = {}
    for name, tensor in difference.tensors():
        if tensor.ndim != 2 or rank >= min(tensor.shape):
            factors[name] = tensor
            continue
        left, sizes, right = torch.linalg.svd(tensor, full_matrices=False)
        factors[name + LEFT] = (left[:, :rank] * sizes[:rank]).contiguous()
        factors[name + RIGHT] = right[:rank].contiguous()
        total = float((sizes.double() ** 2).sum())
        kept[name] = float((sizes[:rank].double() ** 2).sum()) / total if total else 1.0
    shapes = {name: tuple(tensor.shape) for name, tensor in factors.items()}
    dtypes = {name: tensor.dtype for name, tensor in factors.items()}
    return replace(difference, shapes=shapes, dtypes=dtypes, compute=factors.__getitem__), kept


def _unfactored(stored: Weights) -> Weights:
    """The matrices that the factors stand for, multiplied out when they are read."""
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, torch.dtype] = {}
    for name, shape in stored.shapes.items():
        if name.endswith(LEFT):
            whole = name.removesuffix(LEFT)
            shapes[whole], dtypes[whole] = (shape[0], stored.shapes[whole + RIGHT][1]), stored.dtypes[name]
        elif not name.endswith(RIGHT):
            shapes[name], dtypes[name] = shape, stored.dtypes[name]

    def read(name: str) -> Tensor:
        if name in stored:
            return stored.read(name)
        return stored.read(name + LEFT) @ stored.read(name + RIGHT)

    ordered = sorted(shapes)
    return replace(stored, shapes={n: shapes[n] for n in ordered}, dtypes={n: dtypes[n] for n in ordered}, read=read)
