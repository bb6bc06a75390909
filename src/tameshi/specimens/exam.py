"""What merged models are questioned on: prompts with one right answer each, and documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from tameshi.nouns import Items, Missing
from tameshi.specimens.entities import Prompt
from tameshi.specimens.entity_models import answers_right, document_losses
from tameshi.specimens.texts import Texts

LONGEST = 256  # tokens of a document of the user's that are read


@dataclass(frozen=True)
class Questions:
    """Prompts with their answers, from JSON Lines.

    Args:
        name: for people.
        fingerprint: sha256 of the file.
        questions: (task, prompt, answer), in the order of the file.
    """

    name: str
    fingerprint: str
    questions: tuple[tuple[str, str, str], ...]

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
            if not isinstance(told, dict) or not all(isinstance(told.get(k), str) for k in ("prompt", "answer")):
                raise ValueError(f"line {number} of {file} needs the texts prompt and answer")
            found.append((str(told.get("task", "questions")), told["prompt"], told["answer"]))
        if len(found) < 4:
            raise ValueError(
                f"{file} holds {len(found)} questions; four are the least for a validation and a test half"
            )
        return cls(str(file), hashlib.sha256(content).hexdigest(), tuple(found))


@dataclass(frozen=True)
class Exam:
    """Prompts by task and documents by kind, as token ids."""

    prompts: Mapping[str, Sequence[Prompt]]
    documents: Mapping[str, torch.Tensor | Sequence[torch.Tensor]]

    def right(self, model: Any, *tasks: str) -> Items:
        """1 for each prompt of the tasks (all, if none is named) that greedy decoding answers exactly, else 0.

        Prompts about one fact are one group.
        """
        groups = [p.fact or f"{task} {i}" for task in tasks or self.prompts for i, p in enumerate(self.prompts[task])]
        scored: dict[str, float] = {}
        for task in tasks or self.prompts:
            names = [f"{task} {i}" for i in range(len(self.prompts[task]))]
            scored |= dict(zip(names, answers_right(model, self.prompts[task]), strict=True))
        return Items(scored.values(), scored, groups if len(set(groups)) < len(groups) else ())

    def losses(self, model: Any, *kinds: str) -> Items:
        """Cross-entropy per token of each document of the kinds (all, if none is named), in nats."""
        scored: dict[str, float] = {}
        for kind in kinds or self.documents:
            held = self.documents[kind]
            batches = [held] if isinstance(held, torch.Tensor) else [ids[None] for ids in held]
            values = [value for ids in batches for value in document_losses(model, ids)]
            scored |= {f"{kind} {i}": value for i, value in enumerate(values)}
        return Items(scored.values(), scored)

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
    """Mean of the values; an exam leaves none missing."""
    values = [value for value in items.values if not isinstance(value, Missing)]
    return sum(values) / len(values)


def users_exam(questions: Questions, texts: Texts, tokenizer: Any, limit: int | None = None) -> Exam:
    """The user's questions and texts in a model's tokens; prompts go through its chat template where it has one."""
    prompts: dict[str, list[Prompt]] = {}
    for task, asked, answer in questions.questions[:limit]:
        if tokenizer.chat_template:
            message = [{"role": "user", "content": asked}]
            asked = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
        else:
            ids = tokenizer(asked)["input_ids"]
        told = tokenizer(answer, add_special_tokens=False)["input_ids"]
        prompts.setdefault(task, []).append(Prompt(tuple(ids), tuple(told), task))
    read = [torch.tensor(tokenizer(text)["input_ids"][:LONGEST]) for text in texts.texts[:limit]]
    return Exam(prompts, {"texts": [ids for ids in read if len(ids) > 1]})
