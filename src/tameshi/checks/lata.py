"""LATA: does dropping the layers that resemble instruction following make better merges, and cleaner forgetting?

On the family of the entity world: a base that knows facts, sums and sorting in bare form; an instruct model, an
expert in sums and one in sorting, each fine-tuned from it; and one model trained on all three kinds of data for
reference. Every method has its own scale, chosen on a validation half of the questions out of the same eight, and is
judged on the other half.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch

from tameshi.merging import LATA, merge
from tameshi.merging.commands import done, read_alone, weights_by_layer
from tameshi.merging.lata import layer_weights
from tameshi.merging.layers import layer_of
from tameshi.nouns import (
    AllOf,
    Beats,
    Items,
    Measurement,
    Missing,
    Orders,
    Reaches,
    Rows,
    Rule,
    apply,
    check,
    figure,
    measure,
)
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.exam import Exam, Questions, mean_of, together
from tameshi.specimens.family import mapped, opened
from tameshi.specimens.skilled_family import Family, family_of, world_family
from tameshi.specimens.stand_ins import random_direction
from tameshi.specimens.texts import Texts

SCALES = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5)  # wide enough that no method does best at the end
FORGOTTEN = 0.1  # accuracy that counts as forgotten

Merge = Callable[[Family, float, int], Any]


def by_equal_models(family: Family, scale: float, seed: int) -> Any:
    """Control: LATA on identical models, the instruct model in the place of every expert."""
    same = dict.fromkeys(family.experts, family.guide)
    return LATA().merge(family.start, family.guide, same, scale).model()


Deal = Callable[[list[float], torch.Generator], list[float]]  # cosines of the layers -> a weight for each
DEALS: Mapping[str, Deal] = {
    "random-layers": lambda similar, draw: torch.rand(len(similar), generator=draw).tolist(),
    "shuffled-layers": lambda similar, draw: layer_weights(torch.rand(len(similar), generator=draw).tolist()),
    "reversed-layers": lambda similar, draw: layer_weights([-s for s in similar]),
}
"""Controls: random weights; those of the linear rule in another order; those of the most similar kept instead."""


def dealt(name: str, family: Family, label: str, scale: float, seed: int) -> Callable[[str], float]:
    """The weight of a parameter of an expert under a control."""
    found = LATA().similarity(family.start, family.guide, family.expert(label))
    weights = DEALS[name](list(found.values()), torch.Generator().manual_seed(seed))
    kept = dict(zip(found, weights, strict=True))
    return lambda parameter: scale * kept[layer_of(parameter)]


def _dealt(name: str, family: Family, scale: float, seed: int) -> Any:
    weights = {label: dealt(name, family, label, scale, seed) for label in family.experts}
    return merge(_experts(family), method="task-arithmetic", base=family.start, weights=weights).model()


def _merge(method: str, family: Family, scale: float, seed: int) -> Any:
    """By a general method; `scale` is the factor of what is added to the base."""
    key = "weights" if method in ("task-arithmetic", "dare") else "scale"
    settings: dict[str, Any] = {key: scale, **({"seed": seed} if method.startswith("dare") else {})}
    return merge(_experts(family), method=method, base=family.start, **settings).model()


def _lata(
    rule: Literal["linear", "log"], anchor: Literal["pre", "inst"], family: Family, scale: float, seed: int
) -> Any:
    guide = family.guide if anchor == "pre" else opened(family.instruct)  # a merge is a copy of its anchor
    return LATA(rule, anchor=anchor).merge(family.start, guide, _experts(family), scale).model()


def _experts(family: Family) -> dict[str, Any]:
    return {label: family.expert(label) for label in family.experts}


METHODS: dict[str, Merge] = {
    "lata": partial(_lata, "linear", "pre"),
    "lata-log": partial(_lata, "log", "pre"),
    "lata-on-instruct": partial(_lata, "linear", "inst"),
    **{name: partial(_merge, name) for name in ("task-arithmetic", "ties", "dare", "dare-ties")},
    "identical-models": by_equal_models,
    **{name: partial(_dealt, name) for name in DEALS},
}


def scores(model: Any, exam: Exam) -> dict[str, Items | float]:
    """Accuracy over all tasks (one item a question), of each task, and loss per document."""
    each = {task: exam.right(model, task) for task in exam.prompts}
    return {
        "accuracy": together(each.values()),
        "loss": exam.losses(model),
        **{f"accuracy of {task}": found for task, found in each.items()},
    }


Walk = Callable[[Family, tuple[float, ...], int], Iterator[Measurement]]


def of_a_family(walk: Walk) -> Callable[..., Iterator[Measurement]]:
    """A check of a family: it has the options that say what the family is and which scales are tried."""

    def asked(
        base: CausalLM = "specimen:entities-skilled",  # type: ignore[assignment]  # the runner opens the address
        instruct: CausalLM | None = None,
        expert: dict[str, CausalLM] | None = None,
        *,
        text: Texts | None = None,
        questions: Questions | None = None,
        scales: tuple[float, ...] = SCALES,
        limit: int | None = None,
        seed: int = 0,
    ) -> Iterator[Measurement]:
        """The family.

        Args:
            base: the model before fine-tuning.
            instruct: your instruction-tuned model, with its tokenizer.
            expert: your experts, NAME=DIR; one named mix, trained on the data of all, is the reference and is not
                merged. The task of the questions that has an expert's name is also taken away: from mix, or else from
                the expert.
            text: your text, for the loss.
            questions: your JSON Lines of prompt and answer (and task), half of them for choosing scales.
            scales: that every method may choose from.
            limit: at most so many of your questions and pieces of text.
        """
        return walk(family_of(base, instruct, expert, text, questions, limit, seed), scales, seed)

    asked.__name__ = walk.__name__
    asked.__doc__ = "\n\n".join(inspect.cleandoc(told or "") for told in (walk.__doc__, asked.__doc__))
    return asked


@check("lata", seeds=3)
@of_a_family
def merges(family: Family, scales: tuple[float, ...], seed: int) -> Iterator[Measurement]:
    """Accuracy and loss of merged experts, every method at its own best scale, with the curve over all scales."""

    @cache
    def both(method: str, scale: float) -> tuple[float, dict[str, Any]]:
        """Mean accuracy on the validation half, and all scores on the other; the merge itself is not kept."""
        validation, test = family.halves()
        merged = METHODS[method](family, scale, seed)
        return mean_of(validation.right(merged)), scores(merged, test)

    def at_best(method: str) -> dict[str, Any]:
        chosen = max(scales, key=lambda scale: both(method, scale)[0])
        return {**both(method, chosen)[1], "scale": chosen}

    def alone(name: str) -> dict[str, Any]:
        return scores(opened(family.members[name]), family.halves()[1])

    for name in family.members:
        yield measure(name, partial(alone, name), part="alone")
    for method in METHODS:
        for scale in scales:
            yield measure(method, partial(_second, both, method, scale), part="curve", scale=scale)
        yield measure(method, partial(at_best, method), part="best")


def _second(both: Callable[..., tuple[float, dict[str, Any]]], *which: Any) -> dict[str, Any]:
    return both(*which)[1]


Take = Callable[[Family, str, float, int], Any]


def _forget(rule: Literal["linear", "threshold"], family: Family, label: str, scale: float, seed: int) -> Any:
    target = opened(family.full(label))
    return LATA(rule).forget(target, family.start, family.guide, family.expert(label), scale).model()


def _subtract(dealt_by: str | None, family: Family, label: str, scale: float, seed: int) -> Any:
    """Taken away whole, or with the weights of a control."""
    weights = -scale if dealt_by is None else dealt(dealt_by, family, label, -scale, seed)
    models, target = {"e": family.expert(label)}, opened(family.full(label))
    return merge(models, method="transplant", base=family.start, target=target, weights=weights).model()


TAKING: dict[str, Take] = {
    "lata": partial(_forget, "linear"),
    "lata-threshold": partial(_forget, "threshold"),  # the paper's rule; it drops nothing where no cosine reaches 0.95
    "task-arithmetic": partial(_subtract, None),
    **{name: partial(_subtract, name) for name in DEALS},
}


@check("lata", seeds=3)
@of_a_family
def forgetting(family: Family, scales: tuple[float, ...], seed: int) -> Iterator[Measurement]:
    """What is left of a skill that is taken away from the model of all data, and of the rest.

    Each method takes the smallest scale that forgets on the validation half.
    """
    if not family.skills:
        reason = "no expert has the name of a task of the questions beside which there is another"
        yield measure("start", lambda: {"remembered": Missing(reason), "kept": Missing(reason)})

    def left(model: Any, label: str) -> dict[str, Any]:
        exam, removed = family.halves()[1], family.skills[label]
        others = [task for task in exam.prompts if task != removed]
        return {
            "remembered": exam.right(model, removed),
            "kept": exam.right(model, *others),
            "loss": exam.losses(model),
        }

    @cache
    def both(method: str, label: str, scale: float) -> tuple[float, dict[str, Any]]:
        model = TAKING[method](family, label, scale, seed)
        return mean_of(family.halves()[0].right(model, family.skills[label])), left(model, label)

    def at_best(method: str, label: str) -> dict[str, Any]:
        enough = [scale for scale in sorted(scales) if both(method, label, scale)[0] <= FORGOTTEN]
        chosen = enough[0] if enough else max(scales)
        return {**both(method, label, chosen)[1], "scale": chosen}

    def start(label: str) -> dict[str, Any]:
        return left(opened(family.full(label)), label)

    for label in family.skills:
        yield measure("start", partial(start, label), expert=label)
        for method in TAKING:
            for scale in scales:
                work = partial(_second, both, method, label, scale)
                yield measure(method, work, expert=label, part="curve", scale=scale)
            yield measure(method, partial(at_best, method, label), expert=label, part="best")


@check("lata", seeds=3)
def similarity(
    base: CausalLM = "specimen:entities-skilled",  # type: ignore[assignment]  # the runner opens the address
    instruct: CausalLM | None = None,
    expert: dict[str, CausalLM] | None = None,
    *,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Cosine of every tensor's and block's change with the instruction vector, by depth.

    Args:
        base: the model before fine-tuning.
        instruct: your instruction-tuned model.
        expert: your experts, NAME=DIR.
    """
    if not base.is_specimen and (instruct is None or not expert):
        raise ValueError("your own --base needs --instruct and --expert NAME=DIR beside it")

    @cache
    def models() -> tuple[Any, Any, dict[str, Any]]:
        """Base, instruct model and experts, to be read tensor by tensor."""
        if instruct is None or expert is None:
            family = world_family(seed)
            return mapped(family.base), family.guide, {name: family.expert(name) for name in family.experts}
        experts = {name: mapped(given) for name, given in expert.items() if name != "mix"}
        return mapped(base), mapped(instruct), experts

    @cache
    def cosines(role: str, granularity: Literal["block", "tensor"]) -> dict[str, dict[str, float]]:
        start, guide, experts = models()
        held = {"random": random_direction(opened(base), seed)} if role == "random-direction" else experts
        lata = LATA(granularity=granularity)
        return {name: lata.similarity(start, guide, model) for name, model in held.items()}

    def at(role: str, layer: int) -> dict[str, Any]:
        each = {
            f"{name} {tensor.partition(f'.{layer}.')[2]}": value
            for name, found in cosines(role, "tensor").items()
            for tensor, value in found.items()
            if f".{layer}." in tensor
        }
        blocks = [v for found in cosines(role, "block").values() for k, v in found.items() if k.endswith(f".{layer}")]
        return {"cosine": Items(each.values(), each), "cosine of the block": sum(blocks) / len(blocks)}

    for role in ("experts", "random-direction"):
        for layer in range(int(base.checkpoint.config.get("num_hidden_layers", 0))):
            yield measure(role, partial(at, role, layer), layer=layer)


BASELINES = ("task-arithmetic", "ties", "dare")
CONTROLS = tuple(DEALS)
WITHOUT_SKILL = (*CONTROLS, "identical-models")
BEST = {"part": "best"}

RULES: list[Rule] = [
    Beats("C1", "lata", BASELINES, "accuracy", "higher", check="merges", where=BEST, control=WITHOUT_SKILL),
    Beats("C2", "lata", BASELINES, "loss", "lower", check="merges", where=BEST, control=CONTROLS),
    AllOf(
        "C3",
        (
            Reaches("C3", "lata", "start", "remembered", "lower", share=0.2, check="forgetting", where=BEST),
            Reaches("C3", "lata", "start", "kept", "higher", share=0.8, check="forgetting", where=BEST),
            Beats("C3", "lata", "task-arithmetic", "kept", "higher", check="forgetting", where=BEST, control=CONTROLS),
        ),
    ),
    Orders("C4", "experts", "cosine", "layer", "falls", check="similarity", control=("random-direction",)),
]


@figure("lata", en="Accuracy and loss over the scale", ja="スケールに対する正答率と損失")
def curves(rows: Rows) -> Any:
    """Every method's curve, one point per scale, beside the models that were merged, each by itself."""
    held = rows.where(check="merges")
    made = _curves(held, METHODS, ("accuracy", "loss"), ("accuracy", "loss (nats)"))
    if made is not None:
        for method in held.where(part="alone").methods:
            own = held.where(method=method, part="alone")
            made.axes[0].plot(own.mean("accuracy"), own.mean("loss"), "ks")
            made.axes[0].annotate(method, (own.mean("accuracy"), own.mean("loss")), fontsize="small")
    return made


@figure("lata", en="What is left of the skill taken away, and of the rest", ja="忘れさせた技能と残りの技能の正答率")
def left_over(rows: Rows) -> Any:
    """Every method's curve, one point per scale, beside the model that it starts from."""
    held = rows.where(check="forgetting")
    made = _curves(held, TAKING, ("remembered", "kept"), ("the skill taken away", "the other skills"))
    if made is not None:
        start = held.where(method="start")
        made.axes[0].plot(start.mean("remembered"), start.mean("kept"), "ks")
        made.axes[0].annotate("start", (start.mean("remembered"), start.mean("kept")), fontsize="small")
    return made


def _curves(rows: Rows, methods: Iterable[str], metrics: tuple[str, str], labels: tuple[str, str]) -> Any:
    from matplotlib.figure import Figure

    held = rows.where(part="curve")
    if not len(held):
        return None
    made = Figure(figsize=(7, 4.5))
    axes = made.subplots()
    for method in methods:
        points = [held.where(method=method, scale=scale) for scale in held.where(method=method).levels("scale")]
        across, up = ([point.mean(metric) for point in points] for metric in metrics)
        axes.plot(across, up, "--" if method in WITHOUT_SKILL else "-", marker="o", label=method)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend(fontsize="small")
    return made


@figure("lata", en="Similarity to the instruction vector by depth", ja="深さごとの指示ベクトルとの類似度")
def by_depth(rows: Rows) -> Any:
    """Cosine by block, as the paper takes it, and by tensor."""
    from matplotlib.figure import Figure

    held = rows.where(check="similarity", method="experts")
    if not len(held):
        return None
    made = Figure(figsize=(6, 4))
    axes = made.subplots()
    for label, metric in (("blocks", "cosine of the block"), ("tensors, mean", "cosine")):
        axes.plot(
            held.levels("layer"), [held.where(layer=i).mean(metric) for i in held.levels("layer")], "o-", label=label
        )
    axes.set_xlabel("block")
    axes.set_ylabel("cosine")
    axes.legend()
    return made


@apply("lata")
def merge_layers(
    *,
    base: Path | None = None,
    instruct: Path | None = None,
    expert: dict[str, Path] | None = None,
    forget_from: Path | None = None,
    output: Path | None = None,
    recipe: Path | None = None,
    scale: float = 1.0,
    rule: Literal["linear", "log", "threshold"] = "linear",
    granularity: Literal["block", "module", "tensor"] = "block",
    anchor: Literal["pre", "inst"] = "pre",
    threshold: float = 0.95,
    rank_extra: bool = True,
    resize: Literal["no", "min-rows"] = "no",
    out_dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    dry_run: bool = False,
) -> str:
    """Merge experts by layer-aware task arithmetic, or take an expert's skill away from a model.

    Args:
        base: folder of the model before fine-tuning.
        instruct: folder of the instruction-tuned model; tokenizer and chat template come from it.
        expert: the experts, NAME=DIR.
        forget_from: take the one expert's skill away from this model instead of adding it to the base.
        output: a new folder for the merged model.
        recipe: a YAML file in place of the options.
        scale: of every expert.
        rule: how similarity becomes a weight.
        granularity: what a layer is.
        anchor: what the experts are added to.
        threshold: cosine from which the rule "threshold" drops a layer.
        rank_extra: embeddings, final norm and head take part in the ranking.
        resize: min-rows merges the rows that all vocabularies have.
        out_dtype: of the result; the base's if left out.
        dry_run: say what would be done, and write nothing.
    """
    if recipe is not None:
        replaced: dict[str, Any] = {"base": base, "instruct": instruct, "expert": expert, "forget-from": forget_from}
        replaced |= {"scale": scale if scale != 1 else None, "rule": rule if rule != "linear" else None}
        replaced |= {"granularity": granularity if granularity != "block" else None}
        replaced |= {"anchor": anchor if anchor != "pre" else None}
        replaced |= {"threshold": threshold if threshold != 0.95 else None, "rank-extra": None if rank_extra else False}
        merged = read_alone(recipe, ["lata"], resize=resize, dtype=out_dtype, others=replaced)
    else:
        if base is None or instruct is None or not expert:
            raise ValueError("--base, --instruct and --expert NAME=DIR are needed, or a --recipe")
        lata = LATA(rule, granularity, anchor, threshold, rank_extra)
        if forget_from is not None:
            if len(expert) != 1:
                raise ValueError(f"--forget-from takes exactly one --expert, got {len(expert)}")
            only = next(iter(expert.values()))
            merged = lata.forget(forget_from, base, instruct, only, scale, dtype=out_dtype, resize=resize)
        else:
            merged = lata.merge(base, instruct, expert, scale, dtype=out_dtype, resize=resize)
    return done(merged, output, dry_run=dry_run, more=weights_by_layer(merged.recipe.settings))
