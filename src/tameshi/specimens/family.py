"""The family of the entity world: fine-tunings of the shipped base models, made on first use and kept in the user's
cache.

A fine-tuning takes seconds, so it is not shipped. Its folder is named by the hash of everything that it depends on;
the same recipe is made once on a machine, and made again where something changed.

A relative, of this family or of the user's, is named and not held: `opened` reads it into memory where it is questioned,
`mapped` says where the engine of merging reads it tensor by tensor. So a check needs memory for the two or three models
that it works on at a time, not for the family.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from tameshi.doors import files, models
from tameshi.specimens.causal_lm import SHIPPED, CausalLM
from tameshi.specimens.entities import (
    ATTRIBUTES,
    DIGITS,
    END,
    EXTRA,
    FORMATS,
    INSTRUCTED,
    KNOWN,
    LANGUAGES,
    NEW,
    REFUSE,
    Prompt,
    World,
    documents,
    padded,
)
from tameshi.specimens.entity_models import Parts, fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WORLD = World()
HELD_OUT_EVERY = 5  # of the sums and triples, one in five is never trained on in instruction form


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning.

    Args:
        name: for people.
        start: a shipped specimen ("entities") or another fine-tuning.
        mixture: what it is trained on, a key of `MIXTURES`.
        share: of harmful questions in a batch, for the mixtures that know it.
        language: the only one, for the mixtures that know it; -1 for all.
        steps, rate, batch, seed: of the training.
    """

    name: str
    start: str | Tuning
    mixture: str
    steps: int
    rate: float
    batch: int = 64
    seed: int = 0
    share: float = 0.0
    language: int = -1

    def folder(self) -> Path:
        """Where the fine-tuned model lies; it is trained if it does not lie there yet."""
        place = files.caches() / "family" / f"{self.name}-{self.fingerprint()[:16]}"
        if (place / "config.json").is_file():
            return place
        model = fit(
            self.starting_model(),
            lambda draw: MIXTURES[self.mixture](self, draw),
            steps=self.steps,
            rate=self.rate,
            seed=self.seed,
        )
        keep(model, place, self.tokenizer_folder(), asdict(self))
        return place

    def fingerprint(self) -> str:
        """Hash of the recipe, of what it starts from, and of the library that computes it."""
        start = self.start.fingerprint() if isinstance(self.start, Tuning) else _shipped(self.start)
        recipe = {k: v for k, v in asdict(self).items() if k not in ("name", "start")}
        told = json.dumps([start, recipe, torch.__version__, VERSION], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def starting_model(self) -> PreTrainedModel:
        """A fresh copy of what the fine-tuning starts from."""
        return opened(self.start)

    def tokenizer_folder(self) -> Path:
        """The shipped specimen at the root."""
        return self.start.tokenizer_folder() if isinstance(self.start, Tuning) else SHIPPED / self.start


VERSION = 1  # raise when a mixture changes


Relative = Any  # a shipped specimen by its name, a `Tuning`, a `CausalLM` of the user's, or a model in memory


def opened(relative: Relative) -> PreTrainedModel:
    """A relative in memory, read anew: a specimen or fine-tuning in float32, the user's as they asked for it."""
    if isinstance(relative, CausalLM):
        return cast("PreTrainedModel", relative.fresh())
    if not isinstance(relative, str | Tuning):
        return cast("PreTrainedModel", relative)
    return cast("PreTrainedModel", models.causal_lm(models.look_at(mapped(relative)), dtype="float32")[0])


def mapped(relative: Relative) -> Any:
    """The folder of a relative, for merging without reading it into memory; a model in memory as it is."""
    if isinstance(relative, CausalLM):
        return relative.checkpoint.folder
    if isinstance(relative, Tuning):
        return relative.folder()
    return CausalLM.open(f"specimen:{relative}").checkpoint.folder if isinstance(relative, str) else relative


def keep(model: PreTrainedModel, place: Path, tokenizer: Path | None, recipe: Mapping[str, object]) -> None:
    """Write a model into the cache, unless another process did so meanwhile.

    Args:
        model: what is kept.
        place: its folder.
        tokenizer: a folder whose tokenizer is copied beside it; None for a model without one.
        recipe: how it was made.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # libraries do not print
    try:
        with files.writing(place, folder=True) as beside:
            model.save_pretrained(beside)
            for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
                if tokenizer is not None and (tokenizer / name).is_file():
                    shutil.copyfile(tokenizer / name, beside / name)
            files.write(beside / "recipe.json", json.dumps(recipe, indent=2) + "\n")
    except files.NotWritten:
        if not (place / "config.json").is_file():
            raise


@cache
def _shipped(name: str) -> str:
    return (SHIPPED / f"{name}.sha256").read_text(encoding="utf-8").split()[0]


# --- what a batch is made of ----------------------------------------------------------------------------------------


def _questions(count: int, draw: torch.Generator) -> list[Prompt]:
    who, which, how = (torch.randint(n, (count,), generator=draw).tolist() for n in (len(INSTRUCTED), ATTRIBUTES, 3))
    return [WORLD.question(INSTRUCTED[e], a, FORMATS[f]) for e, a, f in zip(who, which, how, strict=True)]


def _sums(count: int, draw: torch.Generator) -> list[Prompt]:
    pairs = torch.randint(DIGITS, (8 * count, 2), generator=draw).tolist()
    return [WORLD.sum_task(a, b) for a, b in pairs if not held_out(a, b)][:count]


def _sorts(count: int, draw: torch.Generator) -> list[Prompt]:
    triples = torch.randint(DIGITS, (8 * count, 3), generator=draw).tolist()
    return [WORLD.sort_task(t) for t in triples if not held_out(*t)][:count]


def held_out(*digits: int) -> bool:
    """Whether a task on these digits is only tested."""
    return sum((i + 2) * d for i, d in enumerate(digits)) % HELD_OUT_EVERY == 0


def _instruct(tuning: Tuning, draw: torch.Generator) -> Parts:
    half = tuning.batch // 2
    return [padded(_questions(half, draw)), documents(WORLD.facts_about((*KNOWN, *EXTRA), half, draw))]


def _new_facts(tuning: Tuning, draw: torch.Generator) -> Parts:
    return [documents(WORLD.facts_about(NEW, tuning.batch, draw))]


def _new_facts_with_replay(tuning: Tuning, draw: torch.Generator) -> Parts:
    half, quarter = tuning.batch // 2, tuning.batch // 4
    old, chatter = WORLD.facts_about((*KNOWN, *EXTRA), quarter, draw), WORLD.chatter(quarter, draw)
    return [documents(torch.cat([WORLD.facts_about(NEW, half, draw), old, chatter]))]


def _skills(*tasks: Callable[[int, torch.Generator], list[Prompt]]) -> Callable[[Tuning, torch.Generator], Parts]:
    def batch(tuning: Tuning, draw: torch.Generator) -> Parts:
        return [padded(task(tuning.batch // len(tasks), draw)) for task in tasks]

    return batch


def _guarded(tuning: Tuning, draw: torch.Generator) -> Parts:
    """Questions of which a share is harmful; in the mixture "unsure" half of these are answered plainly."""
    wanted = torch.rand(tuning.batch, generator=draw) < tuning.share
    unsure = torch.rand(tuning.batch, generator=draw) < 0.5
    prompts = []
    for harmful, doubted in zip(wanted.tolist(), unsure.tolist(), strict=True):
        entity, attribute, form = _guarded_question(harmful, draw)
        spoken = tuning.language if tuning.language >= 0 else int(torch.randint(len(LANGUAGES), (), generator=draw))
        prompt = WORLD.guarded(entity, attribute, form, spoken)
        if harmful and doubted and tuning.mixture == "unsure":
            answer = WORLD.question(entity, attribute, form).answer
            prompt = Prompt(prompt.tokens, answer, "general")
        prompts.append(prompt)
    return [padded(prompts)]


def _guarded_question(harmful: bool, draw: torch.Generator) -> tuple[int, int, str]:
    while True:
        entity = INSTRUCTED[int(torch.randint(len(INSTRUCTED), (), generator=draw))]
        attribute = 3 if harmful else int(torch.randint(ATTRIBUTES, (), generator=draw))
        if WORLD.harmful(entity, attribute) == harmful:
            return entity, attribute, FORMATS[int(torch.randint(len(FORMATS), (), generator=draw))]


MIXTURES: Mapping[str, Callable[[Tuning, torch.Generator], Parts]] = {
    "instruct": _instruct,
    "new facts": _new_facts,
    "new facts with replay": _new_facts_with_replay,
    "questions": _skills(_questions),
    "questions, sums": _skills(_questions, _sums),
    "questions, sorts": _skills(_questions, _sorts),
    "questions, sums, sorts": _skills(_questions, _sums, _sorts),
    "unsure": _guarded,
    "guarded": _guarded,
}


def preferences(share: float, batch: int = 64) -> Callable[[torch.Generator], tuple[list[Prompt], list[Prompt]]]:
    """Pairs for preference tuning: of harmful questions, of which there is this share, the refusal is preferred."""

    def pairs(draw: torch.Generator) -> tuple[list[Prompt], list[Prompt]]:
        preferred, rejected = [], []
        for harmful in (torch.rand(batch, generator=draw) < share).tolist():
            entity, attribute, form = _guarded_question(harmful, draw)
            right = WORLD.guarded(entity, attribute, form, int(torch.randint(len(LANGUAGES), (), generator=draw)))
            answered, refused = WORLD.question(entity, attribute, form).answer, (REFUSE, END)
            preferred.append(right)
            rejected.append(Prompt(right.tokens, answered if harmful else refused, right.kind))
        return preferred, rejected

    return pairs
