"""The family that the instruction residual is checked on: a base, its instruct model, and both after more pre-training.

The embedded one is that of the entity world, trained on to forty new entities, once on these facts alone and once with
half the batch replayed from old documents. The user's is given, or trained here on half of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any

import torch

from tameshi.nouns import Items
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
    long_enough,
    users_exam,
)
from tameshi.specimens.family import WORLD, Relative, Tuning, opened
from tameshi.specimens.texts import Texts

STEPS = 400  # of continued pre-training
INSTRUCT = Tuning("instruct", "entities", "instruct", steps=400, rate=1e-3, seed=100)
SIBLING = Tuning("instruct-early", "entities-early", "instruct", steps=400, rate=1e-3, seed=100)
MIXTURES = {"without": "new facts", "with": "new facts with replay"}
QUESTIONS = {"followed": "known", "learnt": "new"}  # metric -> task: instructions about old facts, and about new ones
PROSE = 40  # documents of English prose on which a model of the user's own shows what it lost
BATCH = 8  # pieces of the user's text in one step

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
def world_exam() -> tuple[Exam, Exam]:
    """(validation, test): instructions about entities that no instruction was trained on, documents old and new."""
    draw = torch.Generator().manual_seed(2_000)
    documents = {
        "old facts": WORLD.facts_about(KNOWN, 100, draw),
        "chatter": WORLD.chatter(100, draw),
        "new facts": WORLD.facts_about(NEW, 100, draw),
    }
    return Exam({"known": WORLD.questions(HELD_OUT), "new": WORLD.questions(NEW)}, documents).halves()


def scores(model: Any, exam: Exam) -> dict[str, Any]:
    """Both kinds of instruction (one item a question), and the loss on each kind of document."""
    found: dict[str, Any] = {metric: exam.right(model, task) for metric, task in QUESTIONS.items()}
    return found | {f"loss on {kind}": exam.losses(model, kind) for kind in exam.documents}


@dataclass(frozen=True, eq=False)
class Family:
    """The relatives of the experiment, none of them in memory, and how they are scored.

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

    base: Relative
    instruct: Relative
    grown: Callable[[int], Relative]
    moved: Callable[[int], Relative] | None
    sibling: tuple[Relative, Relative] | None
    validation: Score
    test: Score
    old: Callable[[Any], Items]
    retuned: Relative | None = None
    steps: tuple[int, ...] = (STEPS // 4, STEPS // 2, STEPS)


def world_family(replay: str, seed: int) -> Family:
    """The embedded family under one condition; trained on first use."""
    validation, test = world_exam()
    return Family(
        base="entities",
        instruct=INSTRUCT,
        grown=partial(continued, "entities", replay, seed),
        moved=partial(continued, INSTRUCT, replay, seed),
        sibling=("entities-early", SIBLING),
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
        ValueError: something is not given, goes by a name that nothing has here, or is too short to be halved.
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
    long_enough(text, instruct.tokenizer, 2 if given else 4, limit)  # half of it is trained on where nothing is given
    pieces = cache(lambda: documents_of(text, instruct.tokenizer)[:limit])

    def trained(start: CausalLM) -> Callable[[int], Any]:
        def on_the_text(steps: int) -> Any:
            def batch(draw: torch.Generator) -> Any:
                known = pieces()[::2]
                drawn = torch.randint(len(known), (BATCH,), generator=draw).tolist()
                return [as_batch([known[i] for i in drawn])]

            return fit(opened(start).float(), batch, steps=steps, rate=cpt_rate, seed=seed)

        return lru_cache(maxsize=1)(on_the_text)  # of the shorter trainings, asked for first, none is kept

    @cache
    def exams() -> tuple[Exam, Exam]:
        asked = {} if questions is None else users_exam(questions, None, instruct.tokenizer, limit).prompts
        prose = documents_of(Texts.of("prose", corpora.texts("prose", limit=PROSE)), instruct.tokenizer)[: 2 * PROSE]
        return Exam(asked, {"text": pieces() if given else pieces()[1::2], "prose": prose}).halves()

    def score(half: int, model: Any) -> dict[str, Any]:
        exam = exams()[half]
        old = [task for task in exam.prompts if task != "new"]
        followed = exam.right(model, *old) if old else formats_followed(model, instruct.tokenizer, half)
        learnt = exam.right(model, "new") if "new" in exam.prompts else exam.foreseen(model, "text")
        return {"followed": followed, "learnt": learnt, "loss on your text": exam.losses(model, "text")}

    def moved() -> Callable[[int], Relative] | None:
        if not given:
            return trained(instruct)
        return (lambda steps: given["instruct-cpt"]) if "instruct-cpt" in given else None

    return Family(
        base=base,
        instruct=instruct,
        grown=(lambda steps: given["cpt"]) if given else trained(base),
        moved=moved(),
        sibling=None,
        validation=partial(score, 0),
        test=partial(score, 1),
        old=lambda model: exams()[1].losses(model, "prose"),
        retuned=given.get("cpt-tuned"),
        steps=(STEPS,) if given else (STEPS // 4, STEPS // 2, STEPS),
    )
