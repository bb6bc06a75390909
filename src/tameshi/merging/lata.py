"""LATA: add, or take away, only those layers of a task vector that differ from instruction following.

Chen et al. 2025, arXiv:2502.20186. With the instruction vector `tau_I = theta_inst - theta_pre` and an expert's
`tau_t = theta_t - theta_pre`, layer l is weighed by its rank among the cosines `c_l = cos(tau_t^l, tau_I^l)`: the
most similar is dropped, the least similar kept whole. The paper names the three rules; their formulas were not to be
had and are our choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from tameshi.merging.fit import Resize, check_fit
from tameshi.merging.layers import GRANULARITIES, Granularity, is_block, layer_of, layers
from tameshi.merging.merge import merge
from tameshi.merging.merged import Merged, Recipe
from tameshi.merging.method import number
from tameshi.merging.pieces import cosine, gram_of_changes, side_by_side
from tameshi.merging.weights import Weights, weights_of

Rule = Literal["linear", "log", "threshold"]
PAPERS = ("2502.20186", "2212.04089")


def layer_weights(similarities: Sequence[float], rule: Rule = "linear", threshold: float = 0.95) -> list[float]:
    """How much of each layer is kept.

    With rank r = 1 for the most similar of n layers: "linear" gives (r - 1) / (n - 1), "log" gives ln r / ln n,
    "threshold" keeps a layer whole if its cosine lies below the threshold. A lower index counts as more similar where
    two are equal.

    Args:
        similarities: cosine of each layer with the instruction vector.
        rule: "linear" (the paper's Linear-Drop-by-Rank), "log" (Logarithmic-Drop-by-Rank) or "threshold".
        threshold: of the third rule.

    Returns:
        One weight in [0, 1] per layer; 1 for a single layer under the rules by rank.

    Raises:
        ValueError: no such rule.
    """
    if rule == "threshold":
        return [1.0 if similarity < threshold else 0.0 for similarity in similarities]
    if rule not in ("linear", "log"):
        raise ValueError(f"rule must be linear, log or threshold, got {rule!r}")
    count = len(similarities)
    weights = [1.0] * count
    if count > 1:
        for rank, layer in enumerate(sorted(range(count), key=lambda i: (-similarities[i], i)), 1):
            weights[layer] = (rank - 1) / (count - 1) if rule == "linear" else math.log(rank) / math.log(count)
    return weights


@dataclass(frozen=True)
class LATA:
    """Layer-aware task arithmetic: `LATA("linear").merge(base, instruct, {"math": m},
    scales=1.0).save_pretrained("out")`.

    Args:
        rule: how similarity becomes a weight, see `layer_weights`.
        granularity: what a layer is: a transformer block (the paper), a module of it, or a tensor.
        anchor: what the experts are added to: the base ("pre") or the instruction-tuned model ("inst"; our addition).
        threshold: of the rule "threshold".
        rank_extra: embeddings, final norm and head take part in the ranking; if not, they are kept whole.

    Raises:
        ValueError: a setting is none of its words, or the threshold is no cosine.
    """

    rule: Rule = "linear"
    granularity: Granularity = "block"
    anchor: Literal["pre", "inst"] = "pre"
    threshold: float = 0.95
    rank_extra: bool = True

    def __post_init__(self) -> None:
        layer_weights([], self.rule)
        if self.granularity not in GRANULARITIES:
            raise ValueError(f"granularity must be block, module or tensor, got {self.granularity!r}")
        if self.anchor not in ("pre", "inst"):
            raise ValueError(f"anchor must be pre or inst, got {self.anchor!r}")
        if not -1 <= number("threshold", self.threshold) <= 1 + 1e-9:
            raise ValueError(f"threshold must be a cosine in [-1, 1], got {self.threshold}")

    def similarity(self, pre: Any, inst: Any, expert: Any) -> dict[str, float]:
        """Layer -> cosine of the expert's change with the instruction vector, layers in the order of depth.

        Args:
            pre, inst, expert: folders, models or state dicts of one architecture.

        Raises:
            DoesNotFit: they are not.
        """
        origin = weights_of(pre)
        opened = {"inst": weights_of(inst, base=pre), "expert": weights_of(expert, base=pre)}
        check_fit(opened, origin, resize="min-rows")
        return self._similarities(origin, opened["inst"], {"expert": opened["expert"]})["expert"]

    def weights(self, similarities: Mapping[str, float]) -> dict[str, float]:
        """Layer -> how much of it is kept."""
        ranked = [layer for layer in similarities if self.rank_extra or is_block(layer)]
        found = layer_weights([similarities[layer] for layer in ranked], self.rule, self.threshold)
        return dict.fromkeys(similarities, 1.0) | dict(zip(ranked, found, strict=True))

    def merge(
        self,
        pre: Any,
        inst: Any,
        experts: Mapping[str, Any],
        scales: float | Mapping[str, float] = 1.0,
        *,
        dtype: str | None = None,
        resize: Resize = "no",
    ) -> Merged:
        """Add the pure vectors of the experts: `theta_pre + sum_t lambda_t w_t tau_t` (task learning).

        Args:
            pre: the base.
            inst: the instruction-tuned model; tokenizer and chat template come from it.
            experts: label -> expert.
            scales: the paper's lambda, one for all or one per label.
            dtype, resize: as of `merge`.

        Raises:
            DoesNotFit: the models are not of one architecture, or do not descend from the base.
        """
        each = dict(scales) if isinstance(scales, Mapping) else dict.fromkeys(experts, scales)
        if set(each) != set(experts):
            raise ValueError(f"scales must be given for {', '.join(experts)}, got {', '.join(each)}")
        each = {label: number(f"scale of {label}", scale) for label, scale in each.items()}
        return self._apply(pre, inst, experts, each, None, dtype, resize)

    def forget(
        self,
        target: Any,
        pre: Any,
        inst: Any,
        expert: Any,
        scale: float = 1.0,
        *,
        dtype: str | None = None,
        resize: Resize = "no",
    ) -> Merged:
        """Take an expert's pure vector away: `theta_target - lambda w tau_t` (task forgetting).

        Args:
            target: the model that should forget; tokenizer and chat template stay its own.
            pre, inst: the base and the instruction-tuned model.
            expert: a model of what is to be forgotten.
            scale: the paper's lambda.
            dtype, resize: as of `merge`.

        Raises:
            ValueError: the anchor is set, which is a matter of learning.
            DoesNotFit: the models are not of one architecture, or do not descend from the base.
        """
        if self.anchor != "pre":
            raise ValueError("forgetting starts from its target; leave the anchor out, which is of learning")
        return self._apply(pre, inst, {"expert": expert}, {"expert": -number("scale", scale)}, target, dtype, resize)

    def as_mergekit(
        self, weights: Mapping[str, Mapping[str, float]], pre: str, experts: Mapping[str, str]
    ) -> dict[str, Any]:
        """The merge as a recipe for mergekit's task_arithmetic, once the weights of the layers are known.

        Args:
            weights: label -> layer -> weight, already scaled; from `weights`, with granularity "block".
            pre: path of the base.
            experts: label -> path.
        """
        models = []
        for label, path in experts.items():
            extra = [{"filter": layer, "value": w} for layer, w in weights[label].items() if not is_block(layer)]
            blocks = [w for layer, w in weights[label].items() if is_block(layer)]
            models.append({"model": path, "parameters": {"weight": [*extra, {"value": blocks}]}})
        parameters = {"normalize": False}
        return {"merge_method": "task_arithmetic", "base_model": pre, "models": models, "parameters": parameters} | {
            "dtype": "float32"
        }

    def _apply(
        self,
        pre: Any,
        inst: Any,
        experts: Mapping[str, Any],
        scales: Mapping[str, float],
        target: Any,
        dtype: str | None,
        resize: Resize,
    ) -> Merged:
        origin, guide = weights_of(pre), weights_of(inst, base=pre)
        opened = {label: weights_of(expert, base=pre) for label, expert in experts.items()}
        onto = weights_of(target, base=pre) if target is not None else guide if self.anchor == "inst" else None
        kept: dict[str, dict[str, float]] = {}  # filled below: what `merge` checks is checked before the longer walk
        merged = merge(
            opened,
            method="task-arithmetic" if onto is None else "transplant",
            base=origin,
            target=onto,
            companions={"inst": guide},
            tokenizer="target" if target is not None else "inst",
            dtype=dtype,
            resize=resize,
            weights={label: _Scaled(kept, label, scales[label], self.granularity) for label in opened},
        )
        similar = self._similarities(origin, guide, opened)
        kept |= {label: self.weights(similar[label]) for label in opened}
        told = self._told(merged, guide, scales, similar, kept, forgets=target is not None)
        notes = (*merged.notes, *_mixtures(origin, self.granularity))
        return replace(merged, recipe=Recipe("lata", "LATA", PAPERS, told), notes=notes)

    def _similarities(
        self, origin: Weights, guide: Weights, experts: Mapping[str, Weights]
    ) -> dict[str, dict[str, float]]:
        def products(name: str) -> Tensor:
            tensors = [w.read(name) for w in (origin, guide, *experts.values())]
            least = min(t.shape[0] for t in tensors) if tensors[0].ndim else None
            return gram_of_changes(*(t[:least] if least is not None else t for t in tensors))

        found: dict[str, dict[str, float]] = {label: {} for label in experts}
        named = layers([n for n in origin.shapes if origin.floating(n)], self.granularity)
        with side_by_side() as threads:
            made = threads.map(products, [name for names in named.values() for name in names])
            for layer, names in named.items():
                total = torch.stack([next(made) for _ in names]).sum(dim=0)
                for i, label in enumerate(experts, 1):
                    found[label][layer] = cosine(total, 0, i)
        return found

    def _told(
        self,
        merged: Merged,
        guide: Weights,
        scales: Mapping[str, float],
        similar: Mapping[str, Mapping[str, float]],
        kept: Mapping[str, Mapping[str, float]],
        *,
        forgets: bool,
    ) -> dict[str, Any]:
        told = {role: weights.label for role, weights in merged.sources.items() if role in ("base", "target")}
        experts = {
            label: {
                "path": merged.sources[label].label,
                "scale": -scales[label] if forgets else scales[label],
                "layers": {
                    layer: {"cosine": round(similar[label][layer], 6), "weight": round(weight, 6)}
                    for layer, weight in kept[label].items()
                },
            }
            for label in kept
        }
        return {
            **{"pre" if role == "base" else role: path for role, path in told.items()},
            "inst": guide.label,
            "rule": self.rule,
            "granularity": self.granularity,
            "anchor": self.anchor,
            **({"threshold": self.threshold} if self.rule == "threshold" else {}),
            "forget" if forgets else "experts": experts,
        }


def _mixtures(origin: Weights, granularity: Granularity) -> tuple[str, ...]:
    """What the reader should know where a block is a mixture of experts."""
    if granularity == "tensor" or not any(".experts." in name for name in origin.shapes):
        return ()
    return (
        f"the experts and the router of a {granularity} share one weight; granularity tensor weighs each by itself",
    )


class _Scaled:
    """The weight of a parameter, read off its layer's once that is known."""

    def __init__(
        self, kept: Mapping[str, Mapping[str, float]], label: str, scale: float, granularity: Granularity
    ) -> None:
        self.kept, self.label, self.scale, self.granularity = kept, label, scale, granularity

    def __call__(self, name: str) -> float:
        of_layer = self.kept.get(self.label, {})
        return self.scale * of_layer.get(layer_of(name, self.granularity), 0.0)
