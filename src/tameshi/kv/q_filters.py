"""Keep the keys that point where a head's queries point.

Godey et al. 2025 (Q-Filters), arXiv:2503.02812. The queries of a trained head lean towards one direction u, so that for a
key k the mean logit over queries is about κ<k, u> with κ > 0: the projection on u ranks the keys by the attention that they
will get on average. u is found once per model, from some thousand queries; afterwards a score is one dot product per key.

    filters = QFilters.fit(model, tokenizer=tokenizer, texts=texts)
    cache = BudgetCache(model, QFiltersPolicy(filters, max_length=1024, window_length=128))
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tameshi.doors import files, models
from tameshi.kv.attention import watched
from tameshi.kv.policy import Entries, Policy, each_key

Estimator = Literal["svd", "mean"]
FEWEST_ROWS = 500  # queries per head, below which a direction is not to be trusted
LEAST_ENERGY, LEAST_MAJORITY, LEAST_FILTER = 0.35, 0.55, 0.1


class QFiltersWarning(UserWarning):
    """Filters were fitted, but the sign of some is a coin toss, or heads that share keys cancel each other."""


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """How far the queries of each head lean towards one direction v; each (layers, heads), float32.

    Args:
        energy: share of the squared singular values that the first one holds, σ1²/Σσ².
        align: cosine of the mean query and v.
        majority: share of the queries with a positive projection on v.
    """

    energy: Tensor
    align: Tensor
    majority: Tensor


@dataclass(frozen=True, eq=False)
class QFilters:
    """The filters of one model.

    Args:
        filters: (layers, kv_heads, head_dim), float32; a high projection is kept.
        fingerprint: of the model they were fitted on.
        estimator: how they were fitted; "official" for published ones.
        diagnostics: None for published ones.
    """

    filters: Tensor
    fingerprint: dict[str, Any]
    estimator: str
    diagnostics: Diagnostics | None = None

    @classmethod
    def fit(
        cls,
        model: PreTrainedModel,
        input_ids: Tensor | Sequence[Tensor] | None = None,
        *,
        tokenizer: Any = None,
        texts: Iterable[str] | None = None,
        estimator: Estimator = "svd",
        max_tokens: int = 2048,
        max_queries: int = 40_000,
        num_samples: int = 3000,
        seed: int = 0,
    ) -> QFilters:
        """Find the filters of a model: one forward pass over some texts.

        Args:
            model: on the device where the passes shall run.
            input_ids: (texts, length), or a sequence of (length,).
            tokenizer, texts: in place of input_ids.
            estimator: "svd", the paper's: first right singular vector of the uncentred queries, its sign so that most
                queries project positively. "mean", the theorem's own definition: direction of the mean query, which needs
                no vote.
            max_tokens: every text is cut to this length.
            max_queries: texts are taken in their order until they have so many tokens together.
            num_samples: queries per head that are used, drawn at random, the same for all heads and layers.
            seed: of the draw.

        Raises:
            ValueError: too little text, or always the same token.

        Warns:
            QFiltersWarning: a direction holds less than 0.35 of the energy, or a vote is closer than 0.55, or the filters of
                query heads that share keys cancel each other.
        """
        if estimator not in ("svd", "mean"):
            raise ValueError(f"estimator must be 'svd' or 'mean', got {estimator!r}")
        sequences: list[Tensor] = []
        total = 0
        for sequence in _sequences(input_ids, tokenizer, texts):
            sequences.append(sequence[: min(max_tokens, max_queries - total)])
            total += len(sequences[-1])
            if total >= max_queries:
                break
        if min(total, num_samples) < FEWEST_ROWS:
            raise ValueError(
                f"filters need at least {FEWEST_ROWS} queries per head, got {min(total, num_samples)}; give more text"
            )
        if len({token for s in sequences for token in s.tolist()}) < 2:
            raise ValueError("the calibration text is one token again and again, which says nothing about queries")
        queries = _queries(model, sequences, _sample(total, num_samples, seed))
        kv_heads = model.config.get_text_config(decoder=True).num_key_value_heads
        fitted = [directions(layer, estimator) for layer in queries]
        diagnostics = Diagnostics(*(torch.stack(part) for part in zip(*(d for _, d in fitted), strict=True)))
        heads = torch.stack([v for v, _ in fitted])  # (layers, heads, head_dim)
        filters = heads.view(len(heads), kv_heads, -1, heads.shape[-1]).mean(
            2
        )  # a plain mean over the query heads that share a key
        _warn(filters, diagnostics, estimator)
        return cls(filters, fingerprint(model), estimator, diagnostics)

    @classmethod
    def from_official(cls, filters: Tensor | str | os.PathLike[str], model: PreTrainedModel) -> QFilters:
        """Published filters, which point the other way: theirs keep the smallest projection.

        Args:
            filters: (layers, kv_heads, head_dim), or a safetensors file that holds one such tensor.
            model: the model that they are for; what was published does not say.

        Raises:
            ValueError: not of the model's shape.
        """
        if not isinstance(filters, Tensor):
            held = dict(models.tensors(Path(filters)))
            if len(held) != 1:
                raise ValueError(f"{filters} must hold one tensor of filters, got {len(held)}")
            filters = next(iter(held.values()))
        about = fingerprint(model)
        expected = (about["layers"], about["kv_heads"], about["head_dim"])
        if tuple(filters.shape) != expected:
            raise ValueError(f"filters of {type(model).__name__} have the shape {expected}, got {tuple(filters.shape)}")
        return cls(-filters.float(), about, "official")

    def check(self, model: PreTrainedModel) -> None:
        """Raise ValueError with one sentence if these are not the filters of this model."""
        actual = fingerprint(model)
        wrong = [name for name in actual if actual[name] != self.fingerprint.get(name)]
        if wrong:
            name = wrong[0]
            raise ValueError(
                f"these filters belong to another model: {name} is {actual[name]} here and "
                f"{self.fingerprint.get(name)} there; fit filters for this one"
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write them as one safetensors file, with the fingerprint in its header.

        Raises:
            tameshi.doors.files.NotWritten: the file cannot be written.
        """
        held = {"filters": self.filters.contiguous()}
        if self.diagnostics is not None:
            held |= {name: getattr(self.diagnostics, name).contiguous() for name in ("energy", "align", "majority")}
        about = {
            "format": "q-filters",
            "estimator": self.estimator,
            "fingerprint": json.dumps(self.fingerprint, sort_keys=True),
        }
        return files.write(path, safetensors.torch.save(held, about))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> QFilters:
        """Read what `save` wrote.

        Raises:
            tameshi.doors.models.Untrusted: not a whole safetensors file, or not finite.
            ValueError: not a file of filters.
        """
        held, about = dict(models.tensors(Path(path))), models.metadata(Path(path))
        if about.get("format") != "q-filters" or "filters" not in held:
            raise ValueError(
                f"{path} holds no filters written by QFilters.save; published ones go through from_official"
            )
        diagnostics = Diagnostics(held["energy"], held["align"], held["majority"]) if "energy" in held else None
        return cls(held["filters"], json.loads(about["fingerprint"]), about["estimator"], diagnostics)


@dataclass(frozen=True, eq=False)
class QFiltersPolicy(Policy):
    """Score: the projection of the key on its head's filter.

    Args:
        filters: of the model that the cache is for.
    """

    filters: QFilters

    def suits(self, model: PreTrainedModel) -> None:
        """Refuse the filters of another model."""
        self.filters.check(model)

    def scores(self, entries: Entries) -> Tensor:
        """(batch, kv_heads, length), float32."""
        return project(entries.keys, self.filters.filters[entries.layer].to(entries.keys.device))


def project(keys: Tensor, filters: Tensor) -> Tensor:
    """The projection of every key on the filter of its head.

    Args:
        keys: (batch, kv_heads, length, head_dim), any floating dtype.
        filters: (kv_heads, head_dim), float32.

    Returns:
        (batch, kv_heads, length), float32.
    """
    columns = filters[:, :, None]
    return each_key(keys, lambda block: (block @ columns).squeeze(-1))


def directions(queries: Tensor, estimator: Estimator = "svd") -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The direction of every head, and how clear it is.

    Args:
        queries: (heads, rows, head_dim).
        estimator: as for `QFilters.fit`.

    Returns:
        v, (heads, head_dim), of unit length, float32; then energy, align and majority as in `Diagnostics`, each (heads,).
    """
    rows = queries.double()
    # The right singular vectors of Q are the eigenvectors of Q'Q, a matrix of head_dim squared; in float64 nothing is lost.
    eigenvalues, eigenvectors = torch.linalg.eigh(rows.transpose(-1, -2) @ rows)
    mean = rows.mean(1)
    v = eigenvectors[..., -1] if estimator == "svd" else nn.functional.normalize(mean, dim=-1)
    positive = ((rows @ v[..., None]) > 0).double().mean((1, 2))
    if estimator == "svd":
        sign = torch.where(positive > 0.5, 1.0, -1.0)  # a majority vote of the queries, not the sign of their mean
        v, positive = v * sign[:, None], torch.where(sign > 0, positive, 1 - positive)
    energy = eigenvalues[..., -1] / eigenvalues.sum(-1)
    align = nn.functional.cosine_similarity(mean, v, dim=-1)
    return v.float(), (energy.float(), align.float(), positive.float())


def fingerprint(model: PreTrainedModel) -> dict[str, Any]:
    """What tells a model from another of the same shape: sizes, rotary settings, first attention weight.

    The weight is hashed as bfloat16, so that a model is itself in whatever precision it was opened.
    """
    config = model.config.get_text_config(decoder=True)
    heads = config.num_attention_heads
    weight = next(p for n, p in model.named_parameters() if n.endswith("weight") and ".self_attn." in f".{n}")
    rounded = weight.detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint8)
    return {
        "layers": config.num_hidden_layers,
        "heads": heads,
        "kv_heads": getattr(config, "num_key_value_heads", heads),
        "head_dim": getattr(config, "head_dim", None) or config.hidden_size // heads,
        "rope": json.dumps(getattr(config, "rope_parameters", None), sort_keys=True, default=str),
        "weight": hashlib.sha256(rounded.numpy().tobytes()).hexdigest(),
    }


def _sequences(
    input_ids: Tensor | Sequence[Tensor] | None, tokenizer: Any, texts: Iterable[str] | None
) -> Iterator[Tensor]:
    if (input_ids is None) == (texts is None):
        raise ValueError("give either input_ids, or texts and a tokenizer")
    if input_ids is not None:
        yield from input_ids
        return
    if tokenizer is None:
        raise ValueError("texts need the model's tokenizer")
    assert texts is not None
    for text in texts:
        try:
            yield tokenizer(text, return_tensors="pt").input_ids[0]
        except Exception as error:  # plain Exception is what tokenizers raises for a word that it does not know
            raise ValueError(f"the model's tokenizer cannot read these texts: {error}") from error


def _sample(total: int, wanted: int, seed: int) -> Tensor:
    """Which of all queries are used: ascending."""
    drawn = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:wanted]
    return drawn.sort().values


@torch.no_grad()
def _queries(model: PreTrainedModel, sequences: list[Tensor], sample: Tensor) -> list[Tensor]:
    """The sampled queries of every layer, each (heads, rows, head_dim), as the model computed them."""
    layers = model.config.get_text_config(decoder=True).num_hidden_layers
    parts: list[list[Tensor]] = [[] for _ in range(layers)]
    chosen = sample

    def collect(layer: int, queries: Tensor, keys: Tensor, scaling: float) -> None:
        parts[layer].append(queries[0, :, chosen.to(queries.device)].clone())

    start = 0
    with watched(model, collect):
        for sequence in sequences:
            chosen = sample[(sample >= start) & (sample < start + len(sequence))] - start
            start += len(sequence)
            if len(chosen):
                model.base_model(input_ids=sequence[None].to(model.device), use_cache=False)
    queries = [torch.cat(part, dim=1) for part in parts]
    if not all(bool(q.isfinite().all()) for q in queries):
        raise ValueError("the model's queries are not finite on this text, so there is no direction to find")
    return queries


def _warn(filters: Tensor, found: Diagnostics, estimator: Estimator) -> None:
    if estimator == "svd":
        unclear = (found.energy < LEAST_ENERGY) | (found.majority < LEAST_MAJORITY)
        if unclear.any():
            layer, head = unclear.nonzero()[0].tolist()
            warnings.warn(
                f"{int(unclear.sum())} of {unclear.numel()} heads lean towards no clear direction (the first is layer {layer}, "
                f"head {head}: energy {found.energy[layer, head]:.2f}, majority {found.majority[layer, head]:.2f}), so that "
                "the sign of their filter is a coin toss; compare estimator='mean'",
                QFiltersWarning,
                stacklevel=3,
            )
    cancelled = filters.norm(dim=-1) < LEAST_FILTER
    if cancelled.any():
        layer, head = cancelled.nonzero()[0].tolist()
        warnings.warn(
            f"the query heads that share the keys of layer {layer}, head {head} point in opposite ways, and their mean is "
            "(almost) zero: it ranks nothing",
            QFiltersWarning,
            stacklevel=3,
        )
