"""The family that LATA is checked on: a base, an instruct model, experts, and what they are questioned on.

The embedded one is that of the entity world: a base that knows facts, sums and sorting in bare form; an instruct model,
an expert in sums and one in sorting, each fine-tuned from it; and one model trained on all three kinds of data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import torch

from tameshi.specimens.causal_lm import CausalLM
from tameshi.specimens.entities import HELD_OUT, KNOWN
from tameshi.specimens.exam import Exam, Questions, long_enough, users_exam
from tameshi.specimens.family import WORLD, Relative, Tuning, held_out, mapped, opened
from tameshi.specimens.texts import Texts

BASE = "entities-skilled"
TASKS = 100  # questions of each task; half for validation


@dataclass(frozen=True, eq=False)
class Family:
    """The relatives of a merge. Only the base stays in memory, for every merge is a copy of it.

    Args:
        base, instruct: before and after instruction tuning.
        experts: label -> what is merged.
        mix: trained on all data at once, for reference; None where there is none.
        skills: expert -> the task that it is good at, for those whose task is asked beside another.
        halves: gives the validation and the test half of the exam.
    """

    base: Relative
    instruct: Relative
    experts: Mapping[str, Relative]
    mix: Relative | None
    skills: Mapping[str, str]
    halves: Callable[[], tuple[Exam, Exam]]

    @cached_property
    def start(self) -> Any:
        """The base in memory."""
        return opened(self.base)

    @property
    def guide(self) -> Any:
        """The instruct model, to be read tensor by tensor."""
        return mapped(self.instruct)

    def expert(self, label: str) -> Any:
        """An expert, to be read tensor by tensor."""
        return mapped(self.experts[label])

    @property
    def members(self) -> Mapping[str, Relative]:
        """Every model that is scored by itself, by name."""
        return {"base": self.start, "instruct": self.instruct, **self.experts} | (
            {} if self.mix is None else {"mix": self.mix}
        )

    def full(self, label: str) -> Relative:
        """What forgets the skill of an expert: the model of all data, or the expert itself where there is none."""
        return self.experts[label] if self.mix is None else self.mix


@cache
def world_exam(seed: int) -> tuple[Exam, Exam]:
    """(validation, test): held-out entities, sums and triples that no fine-tuning saw, facts and chatter."""
    draw = torch.Generator().manual_seed(1_000 + seed)
    asked = WORLD.questions(HELD_OUT)
    order = torch.randperm(len(asked), generator=draw).tolist()
    sums = [WORLD.sum_task(a, b) for a in range(16) for b in range(16) if held_out(a, b)]
    triples = [t for t in torch.randint(16, (12 * TASKS, 3), generator=draw).tolist() if held_out(*t)]
    prompts = {
        "questions": [asked[i] for i in order[:TASKS]],
        "add": [sums[i] for i in torch.randperm(len(sums), generator=draw).tolist()[:TASKS]],
        "sort": [WORLD.sort_task(t) for t in triples[:TASKS]],
    }
    return Exam(prompts, {"facts": WORLD.facts_about(KNOWN, 100, draw), "chatter": WORLD.chatter(100, draw)}).halves()


def world_family(seed: int) -> Family:
    """The embedded family of one seed; fine-tuned on first use."""

    def tuned(name: str, mixture: str) -> Tuning:
        return Tuning(name, BASE, mixture, steps=300, rate=4e-4, batch=48, seed=seed)

    return Family(
        base=BASE,
        instruct=tuned("inst", "questions"),
        experts={"math": tuned("math", "questions, sums"), "code": tuned("code", "questions, sorts")},
        mix=tuned("mix", "questions, sums, sorts"),
        skills={"code": "sort"},
        halves=partial(world_exam, seed),
    )


def users_family(
    base: CausalLM,
    instruct: CausalLM | None,
    expert: Mapping[str, CausalLM] | None,
    text: Texts | None,
    questions: Questions | None,
    limit: int | None,
) -> Family:
    """The user's family.

    Raises:
        ValueError: something of it is not given, or too short to be halved.
    """
    experts = {name: given for name, given in (expert or {}).items() if name != "mix"}
    if instruct is None or not experts or text is None or questions is None:
        raise ValueError("your own --base needs --instruct, --expert NAME=DIR, --text and --questions beside it")
    tasks = questions.by_task(limit)
    long_enough(text, instruct.tokenizer, 2, limit)
    return Family(
        base=base,
        instruct=instruct,
        experts=experts,
        mix=(expert or {}).get("mix"),
        skills={name: name for name in experts if name in tasks and len(tasks) > 1},
        halves=cache(lambda: users_exam(questions, text, instruct.tokenizer, limit).halves()),
    )


def family_of(
    base: CausalLM,
    instruct: CausalLM | None,
    expert: Mapping[str, CausalLM] | None,
    text: Texts | None,
    questions: Questions | None,
    limit: int | None,
    seed: int,
) -> Family:
    """The embedded family, or the user's.

    Raises:
        ValueError: a base of the user's own without the rest, or the rest without a base.
    """
    if not base.is_specimen:
        return users_family(base, instruct, expert, text, questions, limit)
    if base.name != f"specimen:{BASE}" or instruct or expert or text or questions:
        raise ValueError(f"the embedded family belongs to specimen:{BASE}; give --base, too, for your models")
    return world_family(seed)
