"""The instruction residual: what continued pre-training costs, and whether adding the residual back repairs it.

On the family of the entity world: a base, its instruct model, and both trained on to forty new entities, once on
these facts alone and once with half the batch replayed from old documents. Both conditions are named in every
verdict. Each method that has a scale chooses it on a validation half of the questions; the other half is judged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from tameshi.doors.screen import plain
from tameshi.merging import InstructionResidual, merge
from tameshi.merging.commands import angles_by_layer, done, read_alone
from tameshi.nouns import (
    AllOf,
    Beats,
    Difference,
    Items,
    Measurement,
    Missing,
    Orders,
    OutOfReach,
    Ratio,
    Reaches,
    Rows,
    Rule,
    apply,
    check,
    figure,
    measure,
)
from tameshi.specimens import continued_family
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.continued_family import MIXTURES, QUESTIONS, STEPS, Family, users_family
from tameshi.specimens.exam import Questions, mean_of
from tameshi.specimens.family import Relative, mapped, opened
from tameshi.specimens.stand_ins import random_step, shuffled_step
from tameshi.specimens.texts import Texts

SCALES = (0.5, 0.75, 1.0, 1.25)
RANK = 16  # singular directions of every matrix that the low-rank residual keeps


def with_method(method: str, family: Family, scale: float, seed: int) -> Any:
    """The model that a method makes of the continued ones."""
    base, instruct, steps = mapped(family.base), mapped(family.instruct), family.steps[-1]
    match method:
        case "residual" | "low-rank residual":
            origin, tuned = base, instruct
        case "residual of a sibling":
            assert family.sibling is not None  # measured only where there is one
            origin, tuned = (mapped(relative) for relative in family.sibling)
        case "random residual":
            origin, tuned = base, random_step(opened(family.base), opened(family.instruct), seed)
        case "shuffled residual":
            origin, tuned = base, shuffled_step(opened(family.base), opened(family.instruct), seed)
        case "empty residual":
            origin, tuned = base, base
        case "wise-ft" | "linear":
            after = family.grown if method == "linear" else family.moved
            assert after is not None  # measured only where there is one
            pair, share = {"a": opened(family.instruct), "b": mapped(after(steps))}, scale / max(SCALES)
            return merge(pair, method="linear", weights=[1 - share, share]).model()
        case "ties":
            pair = {"a": instruct, "b": mapped(family.grown(steps))}
            return merge(pair, method="ties", base=opened(family.base), scale=scale).model()
        case _:
            raise ValueError(f"no method {method!r}")
    residual, grown = InstructionResidual.extract(origin, tuned), opened(family.grown(steps))
    if method != "low-rank residual":
        return residual.apply(grown, scale).model()
    with tempfile.TemporaryDirectory(prefix="tameshi-") as scratch:
        saved = residual.save(Path(scratch) / "residual", rank=RANK)
        return InstructionResidual.load(saved).apply(grown, scale).model()


CONTROLS = ("random residual", "shuffled residual", "empty residual")
SCALED = ("residual", "residual of a sibling", "low-rank residual", "wise-ft", "linear", "ties", *CONTROLS)


@check("instruction-residual", seeds=3)
def retuning(base: CausalLM | None = None, *, seed: int = 0) -> Iterator[Measurement]:
    """What instruction tuning in earnest after continued pre-training gives, and costs: the reference.

    Args:
        base: your model before instruction tuning; left out, all is measured on the embedded family, which alone is
            tuned again.
    """
    if base is not None:
        return

    def again(replay: str) -> dict[str, Any]:
        return continued_family.scores(opened(continued_family.retuned(replay, seed)), continued_family.world_exam()[1])

    for replay in MIXTURES:
        yield measure("base+cpt+tuning", partial(again, replay), replay=replay)


@check("instruction-residual", seeds=3)
def continuing(
    base: CausalLM | None = None,
    instruct: CausalLM | None = None,
    expert: dict[str, CausalLM] | None = None,
    *,
    text: Texts | None = None,
    questions: Questions | None = None,
    scales: tuple[float, ...] = SCALES,
    cpt_rate: float = 1e-5,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Instructions followed and facts learnt after continued pre-training, by every method.

    Args:
        base: your model before instruction tuning; left out, all is measured on the embedded family.
        instruct: your model after it, with its tokenizer.
        expert: cpt=DIR, your base after continued pre-training, instruct-cpt=DIR, the instruct model after it, and
            cpt-tuned=DIR, the former after instruction tuning in earnest; without any of them the first two are
            trained here on half of the text, which suits small models.
        text: of your new domain; the other half of it is judged.
        questions: your JSON Lines of prompt and answer, half of them for choosing the scale; those of the task "new"
            ask for what the pre-training brought. Left out, twenty instructions about the form of an answer are given.
        scales: that every method may choose from; interpolations take their share of the largest.
        cpt_rate: learning rate of the training on your text.
        limit: at most so many of your questions and pieces of text.
    """
    if any(given is not None for given in (base, instruct, expert, text, questions)):
        families = {"yours": users_family(base, instruct, expert, text, questions, cpt_rate, limit, seed)}
    else:
        families = {replay: continued_family.world_family(replay, seed) for replay in MIXTURES}
    for replay, family in families.items():
        yield from _under(replay, family, scales, seed)


def _under(replay: str, family: Family, scales: tuple[float, ...], seed: int) -> Iterator[Measurement]:
    """All measurements under one condition."""

    full = family.steps[-1]

    @cache
    def both(method: str, scale: float) -> tuple[float, dict[str, Any]]:
        """What the validation half says, and the scores on the other; the model itself is not kept."""
        made = with_method(method, family, scale, seed)
        validated = family.validation(made)
        return sum(mean_of(validated[metric]) for metric in QUESTIONS), family.test(made)

    def on_curve(method: str, scale: float) -> dict[str, Any]:
        return both(method, scale)[1]

    def at_best(method: str) -> dict[str, Any]:
        best = max(scales, key=lambda scale: both(method, scale)[0])
        return {**both(method, best)[1], "scale": best}

    def alone(relative: Relative) -> dict[str, Any]:
        return family.test(opened(relative))

    def grown(start: Relative, after: Callable[[int], Relative], steps: int) -> dict[str, Any]:
        model = opened(after(steps))
        return {**family.test(model), "harm": _growth(family.old(model), family.old(opened(start)))}

    yield measure("base", partial(alone, family.base), replay=replay)
    yield measure("instruct", partial(alone, family.instruct), replay=replay, steps=full)
    yield measure("base+cpt", partial(grown, family.base, family.grown, full), replay=replay, steps=full)
    if family.moved is not None:
        for steps in family.steps:
            work = partial(grown, family.instruct, family.moved, steps)
            yield measure("instruct+cpt", work, replay=replay, steps=steps)
    if family.retuned is not None:
        yield measure("base+cpt+tuning", partial(alone, family.retuned), replay=replay)
    without = {"residual of a sibling"} if family.sibling is None else set()
    without |= {"wise-ft"} if family.moved is None else set()
    for method in SCALED:
        if method in without:
            continue
        for scale in scales:
            yield measure(method, partial(on_curve, method, scale), replay=replay, part="curve", scale=scale)
        yield measure(method, partial(at_best, method), replay=replay, part="best", steps=full, seed=seed)


def _growth(after: Items, before: Items) -> Items:
    """By how much a loss grew, document by document."""
    pairs = zip(after.values, before.values, strict=True)
    gained = [a - b for a, b in pairs if not isinstance(a, Missing) and not isinstance(b, Missing)]
    return Items(gained, after.ids)


FULL: dict[str, str | int | float | bool] = {"part": "best", "steps": STEPS}
EACH = ("replay",)
CHECK = "continuing"

RULES: list[Rule] = [
    AllOf(
        "C1",
        (
            Beats(
                "C1",
                "instruct",
                "instruct+cpt",
                "followed",
                "higher",
                Difference(0.2),
                check=CHECK,
                each=EACH,
                where={"steps": STEPS},
            ),
            Orders("C1", "instruct+cpt", "followed", "steps", "falls", check=CHECK, each=EACH),
        ),
    ),
    # "much less" is read as at most half of what the instruct model loses on the same old documents
    Beats(
        "C2", "base+cpt", "instruct+cpt", "harm", "lower", Ratio(0.5), check=CHECK, each=EACH, where={"steps": STEPS}
    ),
    AllOf(
        "C3",
        tuple(
            Beats(
                "C3",
                "residual",
                "instruct+cpt",
                metric,
                "higher",
                check=CHECK,
                each=(*EACH, "seed"),  # in three seeds of three, each judged by its own items
                where=FULL,
                control=CONTROLS,
            )
            for metric in QUESTIONS
        ),
    ),
    AllOf(
        "C4",
        (
            Beats("C4", "residual of a sibling", "base+cpt", "followed", "higher", check=CHECK, each=EACH, where=FULL),
            Reaches(
                "C4",
                "residual of a sibling",
                "residual",
                "followed",
                "higher",
                share=0.8,
                check=CHECK,
                each=EACH,
                where=FULL,
            ),
        ),
    ),
    OutOfReach(
        "C5",
        {
            "en": "a limit of size needs families of several sizes; the embedded one has one size, 0.2 M parameters.",
            "ja": "規模の限界を見るには複数の規模の族が必要だが、組み込みの族は0.2 Mパラメータの1種類だけである。",
        },
        "--base",
    ),
]


@figure(
    "instruction-residual",
    en="Old instructions followed and new facts learnt",
    ja="従来の指示への追従と新しい事実の習得",
)
def followed_against_learnt(rows: Rows) -> Any:
    """Every method's curve over its scale and every model by itself, one picture per condition."""
    from matplotlib.figure import Figure

    levels = rows.where(check=CHECK).levels("replay")
    if not levels:
        return None
    made = Figure(figsize=(1 + 4 * len(levels), 4.2))
    for axes, replay in zip(made.subplots(1, len(levels), sharey=True, squeeze=False)[0], levels, strict=True):
        own = rows.where(replay=replay)
        for method in own.methods:
            curve = own.where(method=method, part="curve")
            whole = own.where(method=method)
            points = [curve.where(scale=s) for s in curve.levels("scale")]
            points = points or [whole.where(steps=s) for s in whole.levels("steps")] or [whole]
            across, up = ([point.mean(metric) for point in points] for metric in QUESTIONS)
            line = "s-" if len(curve) == 0 else "o--" if method in CONTROLS else "o-"
            axes.plot(across, up, line, label=method)
        axes.set_title(f"replay: {replay}")
        axes.set_xlabel("old instructions followed")
    made.axes[0].set_ylabel("new facts learnt")
    made.axes[-1].legend(fontsize="x-small")
    return made


@apply("instruction-residual")
def add_residual(
    *,
    base: Path | None = None,
    instruct: Path | None = None,
    target: Path | None = None,
    residual: Path | None = None,
    output: Path | None = None,
    recipe: Path | None = None,
    scale: float = 1.0,
    resize: Literal["no", "min-rows"] = "no",
    out_dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    dry_run: bool = False,
) -> str:
    """Add what instruction tuning changed to a base that was trained on.

    Args:
        base: folder of the model before instruction tuning.
        instruct: folder of the model after it; tokenizer and chat template come from it.
        target: folder of the base after continued pre-training.
        residual: a saved residual in place of base and instruct.
        output: a new folder for the model.
        recipe: a YAML file in place of the options.
        scale: of the residual; the paper has 1.
        resize: min-rows adds on the rows that all have and copies the instruct model's others.
        out_dtype: of the result; the target's if left out.
        dry_run: say what would be done, with the diagnosis, and write nothing.
    """
    diagnosis = ""
    if recipe is not None:
        replaced: dict[str, Any] = {"base": base, "instruct": instruct, "target": target, "residual": residual}
        replaced |= {"scale": scale if scale != 1 else None}
        merged = read_alone(recipe, ["instruction-residual"], resize=resize, dtype=out_dtype, others=replaced)
    else:
        if target is None or (residual is None and (base is None or instruct is None)):
            raise ValueError("--target and either --base and --instruct or --residual are needed, or a --recipe")
        if residual is not None and instruct is not None:
            raise ValueError("--residual stands in place of --instruct; give one of them")
        if residual is not None:
            found = InstructionResidual.load(residual)
        else:
            found = InstructionResidual.extract(base, instruct, resize=resize)
        merged = found.apply(target, scale, dtype=out_dtype, resize=resize)
        if base is not None and dry_run and resize == "no":
            diagnosis = angles_by_layer(found.diagnose(base, target))
    return done(merged, output, dry_run=dry_run, more=diagnosis)


@apply("instruction-residual", "extract")
def extract_residual(base: Path, instruct: Path, *, output: Path, rank: int | None = None) -> str:
    """Save what instruction tuning changed, to be added to other models later.

    Args:
        base: folder of the model before instruction tuning.
        instruct: folder of the model after it.
        output: a new folder for the residual.
        rank: keep only so many singular directions of every matrix.
    """
    return f"wrote {plain(InstructionResidual.extract(base, instruct).save(output, rank=rank))}"
