"""Puzzle questions with sure answers as training data: a `datasets.Dataset`, and the reward that TRL's GRPO asks for.

    trainer = GRPOTrainer(model, reward_funcs=puzzle_reward, train_dataset=training_set(["sudoku", "game24"], 1_000))

The paper mixes state checking and state transition of Sudoku, colouring and 24 with mathematics (best at a share of 0.8
mathematics); `training/finereason_grpo.py` is that recipe. Its reward is not given in the sources. Ours: 1 for a correct
answer, and 0.1 more if the answer can be read at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tameshi.evaluation.finereason.generators import Kind
from tameshi.evaluation.finereason.items import Item, build_items, item_from_json
from tameshi.evaluation.finereason.prompts import checking_prompt, transition_prompt
from tameshi.evaluation.finereason.scoring import score_sc, score_st
from tameshi.evaluation.messages import Unparsed

if TYPE_CHECKING:
    from datasets import Dataset

Question: TypeAlias = Literal["sc", "st"]

RIGHT = 1.0
READABLE = 0.1


def training_set(
    puzzles: Sequence[Kind] = ("sudoku", "graph_coloring", "game24"),
    n: int = 1_000,
    seed: int = 0,
    *,
    questions: Sequence[Question] = ("sc", "st"),
    unsolvable: float = 0.5,
    size: int = 0,
    chat: bool = False,
) -> Dataset:
    """Questions about drawn states, shuffled.

    Args:
        puzzles: which engines, in equal parts.
        n: rows in all.
        seed: decides everything; take another one for a test set.
        questions: state checking, state transition, or both.
        unsolvable: share of items whose state is unsolvable (the paper tries 0.2, 0.5 and 0.8).
        size: of Sudokus, 4 or 9.
        chat: prompts as conversations, which TRL puts through the chat template.

    Returns:
        Columns "prompt", "question", "item" (JSON), "status", "puzzle".
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise ImportError("a training set needs datasets: pip install 'tameshi[evaluation]'") from error
    if not 0 <= unsolvable <= 1:
        raise ValueError(f"unsolvable is a share between 0 and 1, got {unsolvable}")
    if not puzzles or not questions or n < 1:
        raise ValueError("a training set has at least one puzzle, one question and one row")
    rows = list(_rows(puzzles, n, seed, questions, unsolvable, size, chat))
    Random(f"finereason training {seed}").shuffle(rows)
    return Dataset.from_list(rows)


def puzzle_reward(
    completions: Sequence[Any], *, item: Sequence[str], question: Sequence[str], strict: bool = True, **columns: Any
) -> list[float]:
    """Reward of each completion, in TRL's signature: `reward_funcs=puzzle_reward`.

    Args:
        completions: texts, or conversations whose last message is the answer.
        item, question: the columns of `training_set`.
        strict: of a state transition; a legal move into a dead end is wrong.
        columns: whatever else TRL passes on.

    Returns:
        1.1 for a correct answer, 0.1 for a wrong one, 0 for one that cannot be read.
    """
    rewards = []
    for completion, saved, asked in zip(completions, item, question, strict=True):
        text = completion if isinstance(completion, str) else str(completion[-1]["content"])
        about = item_from_json(json.loads(saved))
        judged = score_sc(text, about) if asked == "sc" else score_st(text, about, strict=strict)
        rewards.append(0.0 if isinstance(judged, Unparsed) else READABLE + RIGHT * judged.correct)
    return rewards


def _rows(
    puzzles: Sequence[Kind],
    n: int,
    seed: int,
    questions: Sequence[Question],
    unsolvable: float,
    size: int,
    chat: bool,
) -> Iterator[dict[str, Any]]:
    for p, puzzle in enumerate(puzzles):
        share = n // len(puzzles) + (p < n % len(puzzles))
        wanted = {"Unsolvable": round(share * unsolvable)}
        wanted["Solvable"] = share - wanted["Unsolvable"]
        sudoku_size = size if puzzle == "sudoku" else 0
        drawn = build_items(
            puzzle, 2 * max(wanted.values()) + 16, seed, size=sudoku_size
        )  # balanced, so each has enough
        for status, count in wanted.items():
            for i, item in enumerate([d for d in drawn if d.status == status][:count]):
                yield _row(item, questions[i % len(questions)], chat)


def _row(item: Item, question: Question, chat: bool) -> dict[str, Any]:
    text = checking_prompt(item) if question == "sc" else transition_prompt(item)
    return {
        "prompt": [{"role": "user", "content": text}] if chat else text,
        "question": question,
        "item": json.dumps(item.to_json(), ensure_ascii=False),
        "status": item.status,
        "puzzle": item.kind,
    }
