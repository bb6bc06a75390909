"""The instruction residual: what continued pre-training costs, and whether adding the residual back repairs it.

On the family of the entity world: a base, its instruct model, and both trained on to forty new entities, once on
these facts alone and once with half the batch replayed from old documents. Both conditions are named in every
verdict. Each method that has a scale chooses it on a validation half of the questions; the other half is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch

from tameshi.doors.screen import plain
from tameshi.merging import InstructionResidual, merge
from tameshi.merging.instruction_residual import INTERFERES, LayerReport
from tameshi.merging.recipes import read_recipe
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
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.entities import HELD_OUT, KNOWN, NEW
from tameshi.specimens.exam import Exam, Questions, mean_of, users_exam
from tameshi.specimens.family import WORLD, Tuning, opened
from tameshi.specimens.texts import Texts

SCALES = (0.5, 0.75, 1.0, 1.25)
STEPS = 400  # of continued pre-training
INSTRUCT = Tuning("instruct", "entities", "instruct", steps=400, rate=1e-3, seed=100)
SIBLING = Tuning("instruct-early", "entities-early", "instruct", steps=400, rate=1e-3, seed=100)
MIXTURES = {"without": "new facts", "with": "new facts with replay"}
QUESTIONS = {
    "followed": "known",
    "learnt": "new",
}  # metric -> task: instructions about old facts, and about the new ones


def continued(start: str | Tuning, replay: str, seed: int, steps: int = STEPS) -> Tuning:
    """Continued pre-training of a model on the new facts."""
    name = "base-cpt" if isinstance(start, str) else "instruct-cpt"
    return Tuning(f"{name}-{replay}", start, MIXTURES[replay], steps=steps, rate=1e-3, seed=seed)


@cache
def world_exam() -> Exam:
    """Instructions about entities that no instruction was trained on, and documents old and new."""
    draw = torch.Generator().manual_seed(2_000)
    documents = {
        "old facts": WORLD.facts_about(KNOWN, 100, draw),
        "chatter": WORLD.chatter(100, draw),
        "new facts": WORLD.facts_about(NEW, 100, draw),
    }
    return Exam({"known": WORLD.questions(HELD_OUT), "new": WORLD.questions(NEW)}, documents)


def scores(model: Any, exam: Exam) -> dict[str, Any]:
    """Both kinds of instruction (one item a question), and the loss on each kind of document."""
    found: dict[str, Any] = {metric: exam.right(model, task) for metric, task in QUESTIONS.items()}
    return found | {f"loss on {kind}": exam.losses(model, kind) for kind in exam.documents}


def followed_and_learnt(model: Any, exam: Exam) -> float:
    """What a scale is chosen by: the sum of both means."""
    return sum(mean_of(exam.right(model, task)) for task in QUESTIONS.values())


def random_residual(base: Any, instruct: Any, seed: int) -> dict[str, torch.Tensor]:
    """Control: a step from the base as long as the residual in every tensor, in a random direction."""
    draw = torch.Generator().manual_seed(seed)
    stepped = {}
    for name, tensor in base.state_dict().items():
        length = (instruct.state_dict()[name] - tensor).norm()
        direction = torch.randn(tensor.shape, generator=draw)
        stepped[name] = tensor + direction * (length / direction.norm())
    return stepped


def with_method(method: str, replay: str, scale: float, seed: int) -> Any:
    """The model that a method makes of the continued ones."""
    base, instruct = opened("entities"), opened(INSTRUCT)
    grown = opened(continued("entities", replay, seed))
    match method:
        case "residual":
            return InstructionResidual.extract(base, instruct).apply(grown, scale).model()
        case "residual of a sibling":
            return InstructionResidual.extract(opened("entities-early"), opened(SIBLING)).apply(grown, scale).model()
        case "random residual":
            stepped = random_residual(base, instruct, seed)
            residual = InstructionResidual.extract(base.state_dict(), stepped).apply(grown.state_dict(), scale)
            grown.load_state_dict(residual.state_dict())
            return grown
        case "empty residual":
            return InstructionResidual.extract(base, base).apply(grown, scale).model()
        case "wise-ft":
            moved = opened(continued(INSTRUCT, replay, seed))
            share = scale / max(SCALES)
            return merge({"a": instruct, "b": moved}, method="linear", weights=[1 - share, share]).model()
        case "linear":
            share = scale / max(SCALES)
            return merge({"a": instruct, "b": grown}, method="linear", weights=[1 - share, share]).model()
        case "ties":
            return merge({"a": instruct, "b": grown}, method="ties", base=base, scale=scale).model()
    raise ValueError(f"no method {method!r}")


SCALED = ("residual", "residual of a sibling", "wise-ft", "linear", "ties", "random residual", "empty residual")


@check("instruction-residual", seeds=3)
def continuing(
    base: CausalLM | None = None,
    instruct: CausalLM | None = None,
    expert: dict[str, CausalLM] | None = None,
    *,
    text: Texts | None = None,
    questions: Questions | None = None,
    scales: tuple[float, ...] = SCALES,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Instructions followed and facts learnt after continued pre-training, by every method.

    Args:
        base: your model before instruction tuning; left out, all is measured on the embedded family.
        instruct: your model after it, with its tokenizer.
        expert: cpt=DIR, your base after continued pre-training; instruct-cpt=DIR, the instruct model after it, if you
            have it.
        text: of your new domain, for the loss.
        questions: your JSON Lines of prompt and answer, half of them for choosing the scale; those of the task "new"
            ask for what the pre-training brought.
        scales: that every method may choose from; interpolations take their share of the largest.
        limit: at most so many of your questions and texts.
    """
    if base is not None or instruct is not None or expert is not None:
        yield from _yours(base, instruct, expert, text, questions, scales, limit)
        return
    validation, test = world_exam().halves()

    @cache
    def made(method: str, replay: str, scale: float) -> Any:
        return with_method(method, replay, scale, seed)

    def alone(what: str | Tuning, start: str | Tuning | None) -> dict[str, Any]:
        found = scores(opened(what), test)
        if start is not None:
            found["harm"] = _difference(opened(what), opened(start), test)
        return found

    def at_best(method: str, replay: str) -> dict[str, Any]:
        best = max(scales, key=lambda scale: followed_and_learnt(made(method, replay, scale), validation))
        return {**scores(made(method, replay, best), test), "scale": best}

    for replay in MIXTURES:
        yield measure("base", partial(alone, "entities", None), replay=replay)
        yield measure("instruct", partial(alone, INSTRUCT, None), replay=replay, steps=STEPS)
        for start in ("entities", INSTRUCT):
            label = "base+cpt" if start == "entities" else "instruct+cpt"
            yield measure(label, partial(alone, continued(start, replay, seed), start), replay=replay, steps=STEPS)
        for steps in (STEPS // 4, STEPS // 2):
            shorter = continued(INSTRUCT, replay, seed, steps)
            yield measure("instruct+cpt", partial(alone, shorter, INSTRUCT), replay=replay, steps=steps)
        for method in SCALED:
            for scale in scales:
                work = partial(_on_curve, made, method, replay, scale, test)
                yield measure(method, work, replay=replay, part="curve", scale=scale)
            yield measure(method, partial(at_best, method, replay), replay=replay, part="best", steps=STEPS)


def _on_curve(made: Any, method: str, replay: str, scale: float, test: Exam) -> dict[str, Any]:
    return scores(made(method, replay, scale), test)


def _difference(model: Any, start: Any, exam: Exam) -> Items:
    """By how much the loss on old documents grew since the start, document by document."""
    after, before = (exam.losses(m, "old facts", "chatter") for m in (model, start))
    pairs = zip(after.values, before.values, strict=True)
    gained = [a - b for a, b in pairs if not isinstance(a, Missing) and not isinstance(b, Missing)]
    return Items(gained, after.ids)


def _yours(
    base: CausalLM | None,
    instruct: CausalLM | None,
    expert: Mapping[str, CausalLM] | None,
    text: Texts | None,
    questions: Questions | None,
    scales: tuple[float, ...],
    limit: int | None,
) -> Iterator[Measurement]:
    """The same measurements, as far as they go, on models that are given."""
    if base is None or instruct is None or not expert or text is None or questions is None or "cpt" not in expert:
        raise ValueError("your own models need --base, --instruct, --expert cpt=DIR, --text and --questions together")
    cpt = expert["cpt"]
    exams = cache(lambda: users_exam(questions, text, instruct.tokenizer, limit).halves())
    residual = cache(lambda: InstructionResidual.extract(base.checkpoint.folder, instruct.checkpoint.folder))

    @cache
    def applied(scale: float) -> Any:
        return residual().apply(cpt.checkpoint.folder, scale).model()

    def told(model: Any) -> dict[str, Any]:
        test = exams()[1]
        old = [task for task in test.prompts if task != "new"]
        found: dict[str, Any] = {"loss on your text": test.losses(model)}
        if old:
            found["followed"] = test.right(model, *old)
        return found | ({"learnt": test.right(model, "new")} if "new" in test.prompts else {})

    def best() -> dict[str, Any]:
        chosen = max(scales, key=lambda scale: mean_of(exams()[0].right(applied(scale))))
        return {**told(applied(chosen)), "scale": chosen}

    given = {"base": base, "instruct": instruct, "base+cpt": cpt}
    given |= {"instruct+cpt": expert["instruct-cpt"]} if "instruct-cpt" in expert else {}
    for label, model in given.items():
        yield measure(label, partial(_of_subject, told, model), replay="yours", steps=STEPS)
    for scale in scales:
        yield measure("residual", partial(_of_scale, told, applied, scale), replay="yours", part="curve", scale=scale)
    yield measure("residual", best, replay="yours", part="best", steps=STEPS)


def _of_subject(told: Callable[[Any], dict[str, Any]], model: CausalLM) -> dict[str, Any]:
    return told(model.model)


def _of_scale(told: Callable[[Any], dict[str, Any]], applied: Callable[[float], Any], scale: float) -> dict[str, Any]:
    return told(applied(scale))


FULL: dict[str, str | int | float | bool] = {"part": "best", "steps": STEPS}
EACH = ("replay",)
CHECK = "continuing"
CONTROLS = ("random residual", "empty residual")

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
                "C3", "residual", "instruct+cpt", metric, "higher", check=CHECK, each=EACH, where=FULL, control=CONTROLS
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
    """Every method's curve over its scale, without replay on the left and with replay on the right."""
    from matplotlib.figure import Figure

    held = rows.where(check=CHECK)
    if not len(held):
        return None
    made = Figure(figsize=(9, 4.2))
    for axes, replay in zip(made.subplots(1, 2, sharey=True), MIXTURES, strict=True):
        own = held.where(replay=replay)
        for method in ("base", "instruct", "base+cpt", "instruct+cpt"):
            axes.plot(
                own.where(method=method).mean("followed"), own.where(method=method).mean("learnt"), "s", label=method
            )
        for method in SCALED:
            curve = own.where(method=method, part="curve")
            points = [curve.where(scale=s) for s in curve.levels("scale")]
            axes.plot([p.mean("followed") for p in points], [p.mean("learnt") for p in points], "o-", label=method)
        axes.set_title(f"{replay} replay")
        axes.set_xlabel("old instructions followed")
    made.axes[0].set_ylabel("new facts learnt")
    made.axes[1].legend(fontsize="x-small")
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
        merged = read_recipe(recipe).merged()
    else:
        if target is None or (residual is None and (base is None or instruct is None)):
            raise ValueError("--target and either --base and --instruct or --residual are needed, or a --recipe")
        if residual is not None:
            found = InstructionResidual.load(residual)
        else:
            found = InstructionResidual.extract(base, instruct, resize=resize)
        merged = found.apply(target, scale, dtype=out_dtype, resize=resize)
        if base is not None and dry_run and resize == "no":
            diagnosis = "\n" + diagnosis_table(found.diagnose(base, target))
    if dry_run:
        return merged.plan() + diagnosis
    if output is None:
        raise ValueError("--output needs a new folder for the model; --dry-run needs none")
    return f"{merged.plan()}\nwrote {plain(merged.save_pretrained(output))}"


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


def diagnosis_table(reports: list[LayerReport]) -> str:
    """Length and angle of the residual in every layer, as bars."""
    lines = ["residual over weights, and its cosine with continued pre-training"]
    for report in reports:
        bar = "█" * round(20 * max(0.0, report.cosine))
        warning = "  interferes" if report.cosine > INTERFERES else ""
        lines.append(f"  {plain(report.layer):<24} {report.relative:8.4f}  {report.cosine:+.3f} {bar}{warning}")
    return "\n".join(lines)
