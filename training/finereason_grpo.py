"""Reinforcement learning on puzzles and mathematics: the recipe of FineReason's Table 10, with TRL's GRPO.

    python training/finereason_grpo.py --model DIR --math FILE --output DIR        (one or more GPUs)
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


def mixture(math: Path | None, *, rows: int, size: int, seed: int) -> Any:
    """Puzzle and mathematics questions in one shuffled data set."""
    from datasets import Dataset, concatenate_datasets

    puzzles = training_set(n=rows, seed=seed, unsolvable=UNSOLVABLE, size=size)
    puzzles = puzzles.add_column("answer", [""] * len(puzzles))
    if math is None:
        return puzzles
    lines = [json.loads(line) for line in math.read_text(encoding="utf-8").splitlines() if line.strip()]
    wanted = round(len(puzzles) * MATH_SHARE / (1 - MATH_SHARE))
    blank = dict.fromkeys(("question", "item", "status", "puzzle"), "")
    asked = Dataset.from_list([{"prompt": m["prompt"], "answer": str(m["answer"]), **blank} for m in lines[:wanted]])
    return concatenate_datasets([puzzles, asked.cast(puzzles.features)]).shuffle(seed=seed)


def train(
    model: str, output: Path, *, math: Path | None = None, rows: int = ROWS, seed: int = 0, dry: bool = False
) -> Any:
    """Train, and save the model as safetensors; gives back the trainer."""
    from trl import GRPOConfig, GRPOTrainer

    checkpoint = models.look_at(model)
    _, tokenizer = models.causal_lm(checkpoint)  # looked at before TRL opens the same folder
    settings = PAPER | (DRY if dry else {})
    config = GRPOConfig(str(output), report_to=[], save_strategy="no", seed=seed, **settings)
    trainer = GRPOTrainer(
        str(checkpoint.folder),
        reward_funcs=reward,
        args=config,
        train_dataset=mixture(math, rows=rows, size=4 if dry else 0, seed=seed),
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
    parser.add_argument("--dry-run", action="store_true", help="two steps on the CPU")
    given = parser.parse_args()
    rows = min(given.rows, 24) if given.dry_run else given.rows
    train(given.model, given.output, math=given.math, rows=rows, seed=given.seed, dry=given.dry_run)


if __name__ == "__main__":
    main()
