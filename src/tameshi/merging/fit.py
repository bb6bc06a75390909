"""Whether models fit together: everything that can be wrong with a merge, found before a byte is written.

Each refusal is one sentence with the tensor, the file, both values and what to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from tameshi.doors import models as door
from tameshi.doors.screen import plain
from tameshi.merging.pieces import PIECE, is_finite, side_by_side
from tameshi.merging.weights import Weights

Resize = Literal["no", "min-rows"]

# What decides the shape and the computation of a model. Token ids, lengths and versions may differ between relatives.
DECIDING = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "num_local_experts", "num_experts", "num_experts_per_tok", "hidden_act", "rms_norm_eps"),
    *("rope_theta", "rope_scaling", "rope_parameters", "tie_word_embeddings", "layer_types"),
)
UNRELATED = (
    0.1  # cosine of the weights below which a model cannot be a descendant of its base; fine-tunings have above 0.9
)
SAMPLED = 1 << 14  # entries of each matrix that this cosine is taken over


class DoesNotFit(ValueError):
    """Models that cannot be merged as asked, with the reason and the remedy in one sentence."""


@dataclass(frozen=True)
class Fit:
    """What was found when models were held against each other.

    Args:
        rows: name -> rows that all models have, for the tensors whose rows differ and may (`min-rows`).
        notes: what the reader should know, one sentence each.
        cosines: label -> cosine of a model's matrices with the base's, over a sample of the entries.
    """

    rows: Mapping[str, int]
    notes: tuple[str, ...]
    cosines: Mapping[str, float]


def check_fit(
    models: Mapping[str, Weights], base: Weights | None, *, resize: Resize = "no", allow_unrelated: bool = False
) -> Fit:
    """Hold models against each other: architectures, names, shapes, dtypes, ties, vocabularies, numbers, descent.

    Args:
        models: label -> weights; at least one.
        base: the common ancestor, if there is one.
        resize: "min-rows" lets embedding and head differ in their rows (added tokens): the rows that all have are
            merged.
        allow_unrelated: merge models around a base that they do not descend from.

    Raises:
        DoesNotFit: for the first thing that does not.
    """
    if resize not in ("no", "min-rows"):
        raise ValueError(f"resize must be 'no' or 'min-rows', got {resize!r}")
    everyone = ({"base": base} if base is not None else {}) | dict(models)
    first_label, first = next(iter(everyone.items()))
    rows: dict[str, int] = {}
    for label, other in list(everyone.items())[1:]:
        _same_architecture(first_label, first, label, other)
        _same_names(first_label, first, label, other)
        for name in first.shapes:
            _same_shape(name, first_label, first, label, other, resize, rows)
    notes = list(_vocabularies(everyone))
    products = {label: torch.zeros(3, dtype=torch.float64) for label in models if base is not None}
    changed: set[str] = set()

    def look_at(name: str) -> dict[str, torch.Tensor]:
        """Label -> products with the base's tensor of that name; refuses what is not finite."""
        tensors = {label: weights.read(name) for label, weights in everyone.items()}
        for label, tensor in tensors.items():
            _refuse_unsound(name, tensor, everyone[label])
        for label in products:
            if label not in changed and not _equal(tensors["base"], tensors[label]):
                changed.add(label)
        return {label: _products(tensors["base"], tensors[label]) for label in products}

    largest_first = sorted(filter(first.floating, first.shapes), key=lambda n: -torch.Size(first.shapes[n]).numel())
    with side_by_side() as threads:
        for found in threads.map(look_at, largest_first):
            for label, part in found.items():
                products[label] += part
    cosines = {}
    for label, (dot, ours, theirs) in ((label, p.tolist()) for label, p in products.items()):
        if ours * theirs == 0:
            continue
        assert base is not None  # there are no products without one
        cosines[label] = dot / (ours * theirs) ** 0.5
        if cosines[label] < UNRELATED and not allow_unrelated:
            raise DoesNotFit(
                f"{models[label].label} does not descend from {base.label}: the cosine of their weights is "
                f"{cosines[label]:.3f}, where a fine-tuning has above 0.9; name the right base, or pass allow_unrelated"
            )
        if label not in changed:
            notes.append(f"{label} has the weights of the base and adds nothing")
    return Fit(rows, tuple(notes), cosines)


def _same_architecture(label: str, first: Weights, other_label: str, other: Weights) -> None:
    if not first.config or not other.config:
        return
    for key in DECIDING:
        ours, theirs = first.config.get(key), other.config.get(key)
        if ours != theirs and (key in first.config) == (key in other.config):
            raise DoesNotFit(
                f"{key} is {plain(ours)} in {first.label} and {plain(theirs)} in {other.label}; "
                "only models of one family and size can be merged"
            )


def _same_names(label: str, first: Weights, other_label: str, other: Weights) -> None:
    missing = [n for n in first.shapes if n not in other]
    extra = [n for n in other.shapes if n not in first]
    if not missing and not extra:
        return
    for lacking, having, names in ((other, first, missing), (first, other, extra)):
        if any(n in lacking.tied for n in names) or names == ["lm_head.weight"]:
            raise DoesNotFit(
                f"{having.label} has a {plain(names[0])} of its own and {lacking.label} ties it to its embedding; "
                "save both tied, or both with tie_word_embeddings=False"
            )
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise DoesNotFit(
                f"{lacking.label} lacks {', '.join(plain(n) for n in names[:5])}{more}, which {having.label} has; "
                "only models with the same parameters can be merged"
            )


def _same_shape(
    name: str, label: str, first: Weights, other_label: str, other: Weights, resize: Resize, rows: dict[str, int]
) -> None:
    ours, theirs = first.shapes[name], other.shapes[name]
    if first.floating(name) != other.floating(name):
        raise DoesNotFit(
            f"{plain(name)} is {first.dtypes[name]} in {first.place(name)} and {other.dtypes[name]} in "
            f"{other.place(name)}; save both as floating point"
        )
    if ours == theirs:
        return
    rows_only = len(ours) == len(theirs) == 2 and ours[1:] == theirs[1:]
    if rows_only and resize == "min-rows":
        rows[name] = min(rows.get(name, ours[0]), ours[0], theirs[0])
        return
    remedy = "pass --resize min-rows to merge the rows that both have" if rows_only else "they are of different models"
    raise DoesNotFit(
        f"{plain(name)} is {_shape(ours)} in {first.place(name)} and {_shape(theirs)} in {other.place(name)}; {remedy}"
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape) or "a single number"


def _vocabularies(everyone: Mapping[str, Weights]) -> Iterator[str]:
    """Tokens that two models share must have one id; the sentence names the first that has two."""
    known = {label: (w, tokens) for label, w in everyone.items() if w.folder and (tokens := vocabulary(w.folder))}
    if not known:
        return
    (first, ours), *others = known.values()
    for other, theirs in others:
        common = ours.keys() & theirs.keys()
        if _hash({t: ours[t] for t in common}) == _hash({t: theirs[t] for t in common}):
            if len(ours) != len(theirs):
                yield f"{first.label} knows {len(ours):,} tokens and {other.label} {len(theirs):,}"
            continue
        token = min((t for t in common if ours[t] != theirs[t]), key=lambda t: (ours[t], t))
        raise DoesNotFit(
            f"token {plain(token)!r} has id {ours[token]} in {first.folder} and {theirs[token]} in {other.folder}; "
            "models with different tokenizers cannot be merged"
        )


def vocabulary(folder: Path) -> dict[str, int]:
    """Token -> id of a folder's tokenizer.json, added tokens included; empty if there is none."""
    if not (folder / "tokenizer.json").is_file():
        return {}
    told = door.read_json(folder / "tokenizer.json")
    model = told.get("model")
    listed: Any = model.get("vocab", {}) if isinstance(model, dict) else {}
    if isinstance(listed, list):  # Unigram: [token, score] in the order of the ids
        listed = {token: i for i, (token, _) in enumerate(listed)}
    added = {t["content"]: t["id"] for t in told.get("added_tokens", ()) if isinstance(t, dict)}
    return {str(token): int(i) for token, i in {**listed, **added}.items()}


def _hash(tokens: Mapping[str, int]) -> str:
    return hashlib.sha256(json.dumps(dict(sorted(tokens.items()))).encode()).hexdigest()


def _refuse_unsound(name: str, tensor: torch.Tensor, weights: Weights) -> None:
    if name in weights.sound:
        return
    if not is_finite(tensor):
        raise DoesNotFit(
            f"{weights.place(name)} holds NaN or infinity in {plain(name)}; "
            "a model must be finite, so save it again from a sound checkpoint"
        )
    if weights.files:
        weights.sound.add(name)


def _products(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A matrix's [base x other, base x base, other x other]; zeros for vectors, which are all near 1 and tell nothing."""
    if base.ndim < 2 or base.shape[1:] != other.shape[1:]:
        return torch.zeros(3, dtype=torch.float64)
    ours, theirs = (t.reshape(-1)[:SAMPLED].double() for t in (base, other))
    size = min(len(ours), len(theirs))
    ours, theirs = ours[:size], theirs[:size]
    return torch.stack([ours @ theirs, ours @ ours, theirs @ theirs])


def _equal(base: torch.Tensor, other: torch.Tensor) -> bool:
    if base.shape != other.shape:
        return False
    ours, theirs = base.reshape(-1), other.reshape(-1)
    return all(torch.equal(ours[i : i + PIECE], theirs[i : i + PIECE]) for i in range(0, len(ours), PIECE))
