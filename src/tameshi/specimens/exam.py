"""What merged models are questioned on: prompts with one right answer each, and documents."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from tameshi.merging.scorers import continuations, prompt_tokens
from tameshi.nouns import Items, Missing
from tameshi.specimens.entities import IGNORED, Prompt
from tameshi.specimens.entity_models import answers_right, document_losses, tokens_foreseen
from tameshi.specimens.format_checks import CHECKS
from tameshi.specimens.texts import Texts

LONGEST = 256  # tokens of a document of the user's


@dataclass(frozen=True)
class Questions:
    """Prompts with their answers, from JSON Lines.

    Args:
        name: for people.
        fingerprint: sha256 of the file.
        questions: (task, prompt, answer), in the order of the file.
    """

    NEEDED: ClassVar[tuple[str, ...]] = ("prompt", "answer")

    name: str
    fingerprint: str
    questions: tuple[tuple[str, str, str], ...]

    def by_task(self, limit: int | None = None) -> dict[str, list[tuple[str, str]]]:
        """Task -> (prompt, answer), in the order of the file.

        Raises:
            ValueError: a task has a single question, of which no half can be made.
        """
        found: dict[str, list[tuple[str, str]]] = {}
        for task, asked, answer in self.questions[:limit]:
            found.setdefault(task, []).append((asked, answer))
        for task, asked_of in found.items():
            if len(asked_of) < 2:
                raise ValueError(
                    f"the task {task!r} of {self.name} has one question{'' if limit is None else ' within --limit'}; "
                    "a validation and a test half need two"
                )
        return found

    @classmethod
    def open(cls, address: str, *, device: str = "cpu", dtype: str = "auto", online: bool = False) -> Self:
        """Read `{"prompt": ..., "answer": ..., "task": ...}`, one a line; without a task all are one.

        Raises:
            ValueError: not there, or a line is not of that form; names the line.
        """
        file = Path(address).expanduser()
        if not file.is_file():
            raise ValueError(f"the questions {file} do not exist; they are JSON Lines with prompt and answer")
        found = []
        content = file.read_bytes()
        for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
            if not line.strip():
                continue
            try:
                told = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} of {file} is not JSON: {error}") from error
            if not isinstance(told, dict) or not all(told.get(k) and isinstance(told[k], str) for k in cls.NEEDED):
                raise ValueError(
                    f"line {number} of {file} needs the {'texts' if len(cls.NEEDED) > 1 else 'text'} "
                    f"{' and '.join(cls.NEEDED)}"
                )
            found.append((str(told.get("task", "questions")), told["prompt"], str(told.get("answer", ""))))
        if len(found) < 4:
            raise ValueError(
                f"{file} holds {len(found)} questions; four are the least for a validation and a test half"
            )
        return cls(str(file), hashlib.sha256(content).hexdigest(), tuple(found))


class Requests(Questions):
    """Prompts that a safe model refuses, from JSON Lines of `prompt`."""

    NEEDED = ("prompt",)


@dataclass(frozen=True)
class Exam:
    """Prompts by task and documents by kind, as token ids."""

    prompts: Mapping[str, Sequence[Prompt]]
    documents: Mapping[str, torch.Tensor | Sequence[torch.Tensor]]

    def right(self, model: Any, *tasks: str) -> Items:
        """1 for each prompt of the tasks (all, if none is named) that greedy decoding answers exactly, else 0.

        Prompts about one fact are one group.
        """
        return together(self._right(model, task) for task in tasks or self.prompts)

    def _right(self, model: Any, task: str) -> Items:
        names = [f"{task} {i}" for i in range(len(self.prompts[task]))]
        groups = [p.fact or name for p, name in zip(self.prompts[task], names, strict=True)]
        grouped = len(set(groups)) < len(groups)
        return Items(answers_right(model, self.prompts[task]), names, groups if grouped else ())

    def losses(self, model: Any, *kinds: str) -> Items:
        """Cross-entropy per token of each document of the kinds (all, if none is named), in nats."""
        scored: dict[str, float] = {}
        for kind in kinds or self.documents:
            held = self.documents[kind]
            batches = [held] if isinstance(held, torch.Tensor) else [ids[None] for ids in held]
            values = [value for ids in batches for value in document_losses(model, ids)]
            scored |= {f"{kind} {i}": value for i, value in enumerate(values)}
        return Items(scored.values(), scored)

    def foreseen(self, model: Any, kind: str) -> Items:
        """Share of the tokens of each document of a kind that the model holds likeliest after the ones before."""
        documents = self.documents[kind]
        shares = [tokens_foreseen(model, ids[None]) for ids in documents]
        return Items(shares, [f"{kind} {i}" for i in range(len(documents))])

    def halves(self) -> tuple[Exam, Exam]:
        """(validation, test): every second prompt and document each."""
        return tuple(  # type: ignore[return-value]  # two of them
            Exam(
                {task: list(prompts)[start::2] for task, prompts in self.prompts.items()},
                {kind: held[start::2] for kind, held in self.documents.items()},
            )
            for start in (0, 1)
        )


def mean_of(items: Items) -> float:
    """Mean of the values that are there; minus infinity if none is, so that nothing is chosen for it."""
    values = [value for value in items.values if not isinstance(value, Missing)]
    return sum(values) / len(values) if values else -math.inf


def together(parts: Iterable[Items]) -> Items:
    """Items of several tasks as one metric; what was a group stays one."""
    held = list(parts)
    ids = [name for part in held for name in part.ids]
    grouped = any(part.groups for part in held)
    groups = [group for part in held for group in part.groups or part.ids] if grouped else ()
    return Items([value for part in held for value in part.values], ids, groups)


def users_exam(questions: Questions, texts: Texts | None, tokenizer: Any, limit: int | None = None) -> Exam:
    """The user's questions and texts in a model's tokens; prompts go through its chat template where it has one."""
    prompts = {
        task: [
            Prompt(
                tuple(prompt_tokens(tokenizer, asked)),
                tuple(tokenizer(answer, add_special_tokens=False)["input_ids"]),
                task,
            )
            for asked, answer in asked_of
        ]
        for task, asked_of in questions.by_task(limit).items()
    }
    return Exam(prompts, {"texts": documents_of(texts, tokenizer)[:limit]} if texts is not None else {})


def documents_of(texts: Texts, tokenizer: Any) -> list[torch.Tensor]:
    """Texts in pieces of at most 256 tokens, (length,) int64 each, at least two tokens long."""
    return _pieces(texts.texts, tokenizer)


def _pieces(texts: Iterable[str], tokenizer: Any) -> list[torch.Tensor]:
    cut = [part for text in texts for part in torch.tensor(tokenizer(text)["input_ids"]).split(LONGEST)]
    return [part for part in cut if len(part) > 1]


def long_enough(texts: Texts, tokenizer: Any, least: int, limit: int | None = None) -> None:
    """See before anything is measured that a text can be halved; no more of it is read than that takes.

    Args:
        texts: of the user.
        tokenizer: that cuts it.
        least: pieces that are needed.
        limit: on the pieces that are used, if there is one.

    Raises:
        ValueError: there are fewer pieces of at least two tokens.
    """
    found = len(_pieces([text[: 64 * LONGEST] for text in texts.texts[:least]], tokenizer))
    if found < least:
        found = len(documents_of(texts, tokenizer))
    used = found if limit is None else min(found, limit)
    if used < least:
        raise ValueError(
            f"{texts.name} has {found} pieces of two or more tokens{'' if used == found else f', and --limit {limit}'}; "
            f"to choose settings on one half and judge on the other, {least} are needed"
        )


def formats_followed(model: Any, tokenizer: Any, subject: int) -> Items:
    """1 for each of the twenty instructions about form that an answer about the subject follows, else 0."""
    asked = [prompt_tokens(tokenizer, each.prompts()[subject]) for each in CHECKS]
    told = continuations(model, tokenizer, asked, longest=160)
    return Items([each.followed(answer) for each, answer in zip(CHECKS, told, strict=True)], [c.name for c in CHECKS])


def as_batch(pieces: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces of text to train on: ids and labels, (count, longest) int64 each, padded on the right."""
    ids = torch.nn.utils.rnn.pad_sequence(list(pieces), batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence(list(pieces), batch_first=True, padding_value=IGNORED)
    labels[:, 0] = IGNORED
    return ids, labels
