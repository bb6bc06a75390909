"""Puzzle questions with sure answers, as a file for reinforcement learning."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from tameshi.evaluation import finereason as fr
from tameshi.nouns import apply


@apply("finereason")
def training_data_file(
    *,
    output: Path,
    puzzles: tuple[Literal["sudoku", "graph_coloring", "game24", "logic_grid"], ...] = (
        "sudoku",
        "graph_coloring",
        "game24",
    ),
    rows: int = 1_000,
    unsolvable: float = 0.5,
    size: int = 0,
    data_seed: int = 0,
) -> str:
    """Write training questions with sure answers as JSON Lines, for TRL's GRPO with `puzzle_reward`.

    Args:
        output: the file.
        puzzles: which engines, in equal parts.
        rows: how many questions.
        unsolvable: share of states that cannot be solved.
        size: of Sudokus, 4 or 9.
        data_seed: decides every row.
    """
    import json

    from tameshi.doors import files

    made = fr.training_set(puzzles, rows, data_seed, unsolvable=unsolvable, size=size)
    lines = (json.dumps(row, ensure_ascii=False) for row in made.to_list())
    files.write(output, "\n".join(lines) + "\n")
    counts = ", ".join(f"{kind} {n}" for kind, n in sorted(Counter(made["puzzle"]).items()))
    return f"{len(made):,} questions in {output}: {counts}"
