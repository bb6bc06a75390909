"""The instruction residual: what continued pre-training costs, and whether adding the residual back repairs it.

On the family of the entity world: a base, its instruct model, and both trained on to forty new entities, once on
these facts alone and once with half the batch replayed from old documents. Both conditions are named in every
verdict. Each method that has a scale chooses it on a validation half of the questions; the other half is judged.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch

from tameshi.doors.screen import plain
from tameshi.merging import InstructionResidual, merge
from tameshi.merging.instruction_residual import INTERFERES, LayerReport
from tameshi.merging.recipes import read_alone
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
from tameshi.specimens import corpora
from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.entities import HELD_OUT, KNOWN, NEW
from tameshi.specimens.entity_models import fit
from tameshi.specimens.exam import (
    Exam,
    Questions,
    as_batch,
    documents_of,
    formats_followed,
    mean_of,
    users_exam,
)
from tameshi.specimens.family import WORLD, Tuning, opened
from tameshi.specimens.stand_ins import random_step, shuffled_step
from tameshi.specimens.texts import Texts

SCALES = (0.5, 0.75, 1.0, 1.25)
STEPS = 400  # of continued pre-training
INSTRUCT = Tuning("instruct", "entities", "instruct", steps=400, rate=1e-3, seed=100)
SIBLING = Tuning("instruct-early", "entities-early", "instruct", steps=400, rate=1e-3, seed=100)
MIXTURES = {"without": "new facts", "with": "new facts with replay"}
QUESTIONS = {"followed": "known", "learnt": "new"}  # metric -> task: instructions about old facts, and about new ones
PROSE = 40  # documents of English prose on which a model of the user's own shows what it lost
RANK = 16  # singular directions of every matrix that the low-rank residual keeps
BATCH = 8  # pieces of the user's text in one step

Model = Callable[[], Any]
Score = Callable[[Any], dict[str, Any]]


def continued(start: str | Tuning, replay: str, seed: int, steps: int = STEPS) -> Tuning:
    """Continued pre-training of a model on the new facts."""
    name = "base-cpt" if isinstance(start, str) else "instruct-cpt"
    return Tuning(f"{name}-{replay}", start, MIXTURES[replay], steps=steps, rate=1e-3, seed=seed)


def retuned(replay: str, seed: int) -> Tuning:
    """Instruction tuning in earnest after continued pre-training: what the residual saves."""
    return Tuning(
        f"retuned-{replay}", continued("entities", replay, seed), "instruct", INSTRUCT.steps, INSTRUCT.rate, seed=100
    )


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


@dataclass(frozen=True, eq=False)
class Family:
    """The models of the experiment, made or opened when they are asked for, and how they are scored.

    Args:
        base, instruct: before and after instruction tuning.
        grown, moved: steps -> the base and the instruct model after continued pre-training; `moved` None where the
            latter is not to be had.
        sibling: base and instruct of another age; None where there is none.
        validation, test: scorers with at least "followed" and "learnt".
        old: losses on documents of before the continued pre-training.
        retuned: the base after continued pre-training and instruction tuning in earnest, where it is given.
        steps: of continued pre-training, the last the full number.
    """

    base: Model
    instruct: Model
    grown: Callable[[int], Any]
    moved: Callable[[int], Any] | None
    sibling: tuple[Model, Model] | None
    validation: Score
    test: Score
    old: Callable[[Any], Items]
    retuned: Model | None = None
    steps: tuple[int, ...] = (STEPS // 4, STEPS // 2, STEPS)


def world_family(replay: str, seed: int) -> Family:
    """The embedded family under one condition; trained on first use."""
    validation, test = world_exam().halves()
    return Family(
        base=cache(lambda: opened("entities")),
        instruct=cache(lambda: opened(INSTRUCT)),
        grown=cache(lambda steps: opened(continued("entities", replay, seed, steps))),
        moved=cache(lambda steps: opened(continued(INSTRUCT, replay, seed, steps))),
        sibling=(cache(lambda: opened("entities-early")), cache(lambda: opened(SIBLING))),
        validation=lambda model: scores(model, validation),
        test=lambda model: scores(model, test),
        old=lambda model: test.losses(model, "old facts", "chatter"),
    )


def users_family(
    base: CausalLM | None,
    instruct: CausalLM | None,
    expert: Mapping[str, CausalLM] | None,
    text: Texts | None,
    questions: Questions | None,
    cpt_rate: float,
    limit: int | None,
    seed: int,
) -> Family:
    """The user's models; without `cpt` among the experts, both are trained on half of the text.

    Raises:
        ValueError: something is not given, or goes by a name that nothing has here.
    """
    given = dict(expert or {})
    if base is None or instruct is None or text is None:
        raise ValueError("your own models need --base, --instruct and --text together")
    if set(given) - {"cpt", "instruct-cpt", "cpt-tuned"} or (given and "cpt" not in given):
        raise ValueError(
            f"--expert takes cpt=DIR, and instruct-cpt=DIR and cpt-tuned=DIR beside it, got {', '.join(given)}"
        )
    if cpt_rate <= 0:
        raise ValueError(f"--cpt-rate must be more than 0, got {cpt_rate:g}")
    if questions is not None:
        questions.by_task(limit)
    tokenizer = cache(lambda: instruct.tokenizer)
    pieces = cache(lambda: documents_of(text, tokenizer())[:limit])

    def trained(start: CausalLM) -> Callable[[int], Any]:
        def on_the_text(steps: int) -> Any:
            def batch(draw: torch.Generator) -> Any:
                known = pieces()[::2]
                drawn = torch.randint(len(known), (BATCH,), generator=draw).tolist()
                return [as_batch([known[i] for i in drawn])]

            return fit(copy.deepcopy(start.model).float(), batch, steps=steps, rate=cpt_rate, seed=seed)

        return cache(on_the_text)

    @cache
    def exams() -> tuple[Exam, Exam]:
        asked = {} if questions is None else users_exam(questions, None, tokenizer(), limit).prompts
        prose = documents_of(Texts.of("prose", corpora.texts("prose", limit=PROSE)), tokenizer())[: 2 * PROSE]
        judged = pieces() if "cpt" in given else pieces()[1::2]
        if len(judged) < 2:
            raise ValueError(
                f"{text.name} has {len(pieces())} pieces of two or more tokens; half of them judge, and two must"
            )
        return Exam(asked, {"text": judged, "prose": prose}).halves()

    def score(half: int, model: Any) -> dict[str, Any]:
        exam = exams()[half]
        old = [task for task in exam.prompts if task != "new"]
        followed = exam.right(model, *old) if old else formats_followed(model, tokenizer(), half)
        learnt = exam.right(model, "new") if "new" in exam.prompts else exam.foreseen(model, "text")
        return {"followed": followed, "learnt": learnt, "loss on your text": exam.losses(model, "text")}

    def moved() -> Callable[[int], Any] | None:
        if "cpt" not in given:
            return trained(instruct)
        return (lambda steps: given["instruct-cpt"].model) if "instruct-cpt" in given else None

    return Family(
        base=lambda: base.model,
        instruct=lambda: instruct.model,
        grown=(lambda steps: given["cpt"].model) if "cpt" in given else trained(base),
        moved=moved(),
        sibling=None,
        validation=partial(score, 0),
        test=partial(score, 1),
        old=lambda model: exams()[1].losses(model, "prose"),
        retuned=(lambda: given["cpt-tuned"].model) if "cpt-tuned" in given else None,
        steps=(STEPS,) if "cpt" in given else (STEPS // 4, STEPS // 2, STEPS),
    )


def with_method(method: str, family: Family, scale: float, seed: int) -> Any:
    """The model that a method makes of the continued ones."""
    base, instruct, grown = family.base(), family.instruct(), family.grown(STEPS)
    share = scale / max(SCALES)
    match method:
        case "residual":
            origin, tuned = base, instruct
        case "residual of a sibling":
            assert family.sibling is not None  # measured only where there is one
            origin, tuned = (model() for model in family.sibling)
        case "random residual":
            origin, tuned = base, random_step(base, instruct, seed)
        case "shuffled residual":
            origin, tuned = base, shuffled_step(base, instruct, seed)
        case "low-rank residual":
            with tempfile.TemporaryDirectory(prefix="tameshi-") as scratch:
                saved = InstructionResidual.extract(base, instruct).save(Path(scratch) / "residual", rank=RANK)
                return InstructionResidual.load(saved).apply(grown, scale).model()
        case "empty residual":
            origin, tuned = base, base
        case "wise-ft":
            assert family.moved is not None
            moved = family.moved(STEPS)
            return merge({"a": instruct, "b": moved}, method="linear", weights=[1 - share, share]).model()
        case "linear":
            return merge({"a": instruct, "b": grown}, method="linear", weights=[1 - share, share]).model()
        case "ties":
            return merge({"a": instruct, "b": grown}, method="ties", base=base, scale=scale).model()
        case _:
            raise ValueError(f"no method {method!r}")
    return InstructionResidual.extract(origin, tuned).apply(grown, scale).model()


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
        return scores(opened(retuned(replay, seed)), world_exam().halves()[1])

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
        families = {replay: world_family(replay, seed) for replay in MIXTURES}
    for replay, family in families.items():
        yield from _under(replay, family, scales, seed)


def _under(replay: str, family: Family, scales: tuple[float, ...], seed: int) -> Iterator[Measurement]:
    """All measurements under one condition."""

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

    def grown(start: Model, after: Callable[[int], Any], steps: int) -> dict[str, Any]:
        model = after(steps)
        return {**family.test(model), "harm": _growth(family.old(model), family.old(start()))}

    yield measure("base", lambda: family.test(family.base()), replay=replay)
    yield measure("instruct", lambda: family.test(family.instruct()), replay=replay, steps=STEPS)
    yield measure("base+cpt", partial(grown, family.base, family.grown, STEPS), replay=replay, steps=STEPS)
    if family.moved is not None:
        for steps in reversed(family.steps):
            work = partial(grown, family.instruct, family.moved, steps)
            yield measure("instruct+cpt", work, replay=replay, steps=steps)
    if family.retuned is not None:
        tuned_again = family.retuned
        yield measure("base+cpt+tuning", lambda: family.test(tuned_again()), replay=replay)
    without = {"residual of a sibling"} if family.sibling is None else set()
    without |= {"wise-ft"} if family.moved is None else set()
    for method in SCALED:
        if method in without:
            continue
        for scale in scales:
            yield measure(method, partial(on_curve, method, scale), replay=replay, part="curve", scale=scale)
        yield measure(method, partial(at_best, method), replay=replay, part="best", steps=STEPS)


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
