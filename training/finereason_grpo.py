"""Reinforcement learning on puzzles and mathematics: the recipe of FineReason's Table 10, with TRL's GRPO.

    python training/finereason_grpo.py --model DIR --math FILE --output DIR        (one or more GPUs)
    python training/finereason_grpo.py --model DIR --math FILE --math-only         (what the claim compares it with)
    python training/finereason_grpo.py --model DIR --dry-run                       (two steps on the CPU)

The values are the paper's where it gives them; the batch of 112 is its 8 GPUs times what each holds. The mathematics is JSON
Lines with "prompt" and "answer" (MetaMathQA in the paper); its reward compares the last number of the answer, our choice.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from tameshi.doors import files, models
from tameshi.evaluation.finereason import puzzle_reward, training_set

ROWS = 2_000  # of each in the paper's main comparison
MATH_SHARE = 0.8  # the best of its Figure 6
LONGEST_PROMPT = 1024  # tokens
UNSOLVABLE = 0.8  # the best of its Table 6

PAPER: dict[str, Any] = {
    "learning_rate": 4e-5,
    "warmup_steps": 0.1,  # a share of all steps
    "num_train_epochs": 1,
    "max_completion_length": 1024,
    "per_device_train_batch_size": 14,
    "num_generations": 7,  # our choice: it must divide the batch
}
DRY: dict[str, Any] = {
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "num_generations": 2,
    "max_completion_length": 8,
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
}


def reward(
    completions: list[Any], *, item: list[str], question: list[str], answer: list[str], **columns: Any
) -> list[float]:
    """The puzzle reward where there is a puzzle, else 1 for the right last number."""
    found = []
    for completion, saved, asked, right in zip(completions, item, question, answer, strict=True):
        if saved:
            found += puzzle_reward([completion], item=[saved], question=[asked])
        else:
            text = completion if isinstance(completion, str) else completion[-1]["content"]
            numbers = re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))
            found.append(float(bool(numbers) and numbers[-1] == right))
    return found


def mixture(math: Path | None, *, rows: int, size: int, seed: int, math_only: bool = False) -> Any:
    """Puzzle and mathematics questions in one shuffled data set.

    Args:
        math: JSON Lines with "prompt" and "answer", or None for puzzles alone.
        rows: puzzle questions.
        size: of a Sudoku, 0 for 9.
        seed: of the puzzles and the order.
        math_only: as many questions in all, of mathematics alone.

    Raises:
        ValueError: too few lines of mathematics for what was asked.
    """
    from datasets import Dataset, concatenate_datasets

    puzzles = training_set(n=rows, seed=seed, unsolvable=UNSOLVABLE, size=size)
    puzzles = puzzles.add_column("answer", [""] * len(puzzles))
    if math is None:
        return puzzles
    lines = [json.loads(line) for line in math.read_text(encoding="utf-8").splitlines() if line.strip()]
    wanted = round(len(puzzles) * MATH_SHARE / (1 - MATH_SHARE)) + math_only * len(puzzles)
    if math_only and len(lines) < wanted:
        raise ValueError(f"{math} holds {len(lines):,} questions; mathematics alone needs {wanted:,}, or fewer --rows")
    blank = dict.fromkeys(("question", "item", "status", "puzzle"), "")
    asked = Dataset.from_list([{"prompt": m["prompt"], "answer": str(m["answer"]), **blank} for m in lines[:wanted]])
    asked = asked.cast(puzzles.features)
    return (asked if math_only else concatenate_datasets([puzzles, asked])).shuffle(seed=seed)


def train(
    model: str,
    output: Path,
    *,
    math: Path | None = None,
    rows: int = ROWS,
    seed: int = 0,
    math_only: bool = False,
    dry: bool = False,
) -> Any:
    """Train, and save the model as safetensors; gives back the trainer."""
    from trl import GRPOConfig, GRPOTrainer

    checkpoint = models.look_at(model)
    _, tokenizer = models.causal_lm(checkpoint)  # looked at before TRL opens the same folder
    settings = PAPER | (DRY if dry else {})
    questions = mixture(math, rows=rows, size=4 if dry else 0, seed=seed, math_only=math_only)
    questions = questions.filter(lambda row: len(tokenizer(row["prompt"])["input_ids"]) <= LONGEST_PROMPT)
    config = GRPOConfig(str(output), report_to=[], save_strategy="no", seed=seed, **settings)
    trainer = GRPOTrainer(
        str(checkpoint.folder),
        reward_funcs=reward,
        args=config,
        train_dataset=questions,
        processing_class=tokenizer,
    )
    trainer.train()
    with files.writing(output / "model", folder=True) as beside:
        trainer.model.save_pretrained(beside, safe_serialization=True)
        tokenizer.save_pretrained(beside)
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True, help="a model folder")
    parser.add_argument("--math", type=Path, help='JSON Lines with "prompt" and "answer"')
    parser.add_argument("--output", type=Path, default=Path("finereason-grpo"))
    parser.add_argument("--rows", type=int, default=ROWS, help="puzzle questions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--math-only", action="store_true", help="as many questions of mathematics alone, the baseline")
    parser.add_argument("--dry-run", action="store_true", help="two steps on the CPU")
    given = parser.parse_args()
    if given.math_only and given.math is None:
        parser.error("--math-only needs --math FILE")
    rows = min(given.rows, 24) if given.dry_run else given.rows
    settings = {"math": given.math, "rows": rows, "seed": given.seed, "math_only": given.math_only}
    train(given.model, given.output, **settings, dry=given.dry_run)


if __name__ == "__main__":
    main()
