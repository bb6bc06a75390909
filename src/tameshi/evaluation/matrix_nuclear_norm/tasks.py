"""The score as an Inspect AI task, for models in memory whose provider hands out hidden states.

    inspect eval tameshi/representation_compression --model hf/local -M model_path=DIR -M hidden_states=true -M do_sample=false
    inspect eval tameshi/representation_compression --model tameshi/folder -M folder=DIR -M hidden_states=true

Hidden states travel through JSON and stand in the log, so this is for small models and short texts; for real ones call
`representation_report`. A closed API has none to give: its samples stay unscored, and say so.
"""

from __future__ import annotations

import pydoc_data.topics
from pathlib import Path
from typing import Any

import torch
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState

import tameshi.evaluation._inspect  # noqa: F401  says what to install
from tameshi.evaluation.matrix_nuclear_norm.norms import (
    effective_rank,
    matrix_entropy,
    matrix_nuclear_norm,
    nuclear_norm,
    null_score,
)
from tameshi.evaluation.solving import dataset, generated, unscored

SILENT = "the provider gave no hidden states; use hf/local or tameshi/folder with -M hidden_states=true"


@task
def representation_compression(path: str | None = None, n: int = 16, characters: int = 400) -> Task:
    """How strongly a model compresses texts, with the null value beside it.

    Args:
        path: a text file, its texts parted by blank lines; left out, help topics that every Python carries.
        n: how many texts.
        characters: a text is cut to so many.
    """
    samples = [Sample(input=text[:characters], id=i) for i, text in enumerate(_texts(path)[:n])]
    # One text at a time: providers pad the texts of a batch, and padding would count as tokens.
    config = GenerateConfig(max_tokens=1, max_connections=1)
    return Task(dataset=dataset(samples), solver=generated(), scorer=compression(), config=config)


@scorer(metrics={"*": [mean(), stderr()]})
def compression() -> Scorer:
    """Scores the hidden states of the prompt: MNN and nuclear norm per token, entropy, effective rank, and the null value."""

    async def score(state: TaskState, target: Target) -> Score:
        if (silent := unscored(state)) is not None:
            return silent
        steps = (state.output.metadata or {}).get("hidden_states")
        if not steps:
            return Score.unscored(explanation=SILENT)
        hidden = torch.tensor(
            steps[0][-1]
        )  # the first step holds the prompt, the last layer comes after the final norm
        usage = state.output.usage
        if usage is not None and 0 < usage.input_tokens < len(hidden):
            hidden = hidden[-usage.input_tokens :]
        found = _scores(hidden)
        if found["mnn"] != found["mnn"]:
            return Score.unscored(explanation="one token, or all rows equal: a centred row is zero")
        return Score(value=found, metadata={"tokens": len(hidden), "width": hidden.shape[-1]})

    return score


def _scores(hidden: torch.Tensor) -> dict[str, Any]:
    tokens, width = hidden.shape
    return {
        "mnn": float(matrix_nuclear_norm(hidden, per_token=True)),
        "null": null_score(tokens, width),
        "nuclear": float(nuclear_norm(hidden)) / tokens,
        "entropy": float(matrix_entropy(hidden)),
        "erank": float(effective_rank(hidden)),
    }


def _texts(path: str | None) -> list[str]:
    if path is None:
        topics: dict[str, str] = pydoc_data.topics.topics
        return [" ".join(topics[name].split()) for name in sorted(topics) if len(topics[name]) > 1_000]
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"the text file {file} does not exist")
    texts = [part.strip() for part in file.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    if not texts:
        raise ValueError(f"{file} holds no text")
    return texts
