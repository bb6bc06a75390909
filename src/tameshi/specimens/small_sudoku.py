"""A small model that has learnt to say whether a 4x4 Sudoku state can still be solved.

Sixteen tokens for the cells (0 to 4), one that asks, and the answer is read at that last place. Two layers of width 64, 600
steps on 6,000 balanced states of search trees: it learns what one or two open cells say, and little beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

from tameshi.evaluation.finereason.generators import draw_small_sudoku
from tameshi.evaluation.finereason.puzzle import tree
from tameshi.evaluation.finereason.sudoku import Grid

if TYPE_CHECKING:
    from torch import Tensor

ASK, UNSOLVABLE, SOLVABLE = 5, 6, 7
VOCABULARY = 8
STEPS, BATCH, STATES = 600, 64, 6_000
MOST_PUZZLES = 20_000

State = tuple[Grid, bool]
"""A grid, and whether it can be solved."""


def states(count: int, *, seed: int, without: frozenset[Grid] = frozenset()) -> list[State]:
    """Half solvable, half not, each with at least one open cell, none twice, none of `without`."""
    rng = Random(f"small sudoku {seed}")
    seen = set(without)
    kept: dict[bool, list[Grid]] = {True: [], False: []}
    while min(map(len, kept.values())) < count // 2:
        puzzle = draw_small_sudoku(rng)
        for node in tree(puzzle):
            if puzzle.open_cells(node.state) and node.state not in seen:
                seen.add(node.state)
                kept[node.solvable].append(node.state)
    return [(grid, solvable) for solvable in (True, False) for grid in kept[solvable][: count // 2]]


def balanced(per_bin: int, empties: Sequence[int], *, seed: int, without: frozenset[Grid]) -> dict[int, list[State]]:
    """Number of open cells -> `per_bin` states, solvable and unsolvable in turn, none of `without`.

    Raises:
        ValueError: fewer than 2 open cells (one open cell can always be filled), or states that do not turn up.
    """
    if min(empties) < 2:
        raise ValueError("a consistent 4x4 grid with one open cell can always be solved; ask for 2 or more")
    rng = Random(f"small sudoku, balanced {seed}")
    seen = set(without)
    kept: dict[tuple[int, bool], list[Grid]] = {(e, s): [] for e in empties for s in (True, False)}
    for _ in range(MOST_PUZZLES):
        if min(map(len, kept.values())) >= per_bin // 2:
            return {e: [(kept[e, s][i], s) for i in range(per_bin // 2) for s in (True, False)] for e in empties}
        puzzle = draw_small_sudoku(rng)
        for node in tree(puzzle):
            place = (puzzle.open_cells(node.state), node.solvable)
            if place in kept and len(kept[place]) < per_bin // 2 and node.state not in seen:
                seen.add(node.state)
                kept[place].append(node.state)
    raise ValueError(f"{MOST_PUZZLES:,} puzzles hold fewer than {per_bin} new states of some number of open cells")


def encoded(grids: Sequence[Grid]) -> Tensor:
    """(states, 17) tokens."""
    import torch

    return torch.tensor([[*(digit for row in grid for digit in row), ASK] for grid in grids])


def untrained(*, seed: int) -> Any:
    """The model with fresh weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=17,
        initializer_range=0.15,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


@cache
def trained(*, seed: int, steps: int = STEPS) -> tuple[Any, frozenset[Grid]]:
    """The model after training, and the states that it has seen; 10 CPU seconds, kept in memory."""
    import torch

    shown = states(STATES, seed=seed)
    tokens = encoded([grid for grid, _ in shown])
    targets = torch.tensor([SOLVABLE if solvable else UNSOLVABLE for _, solvable in shown])
    model = untrained(seed=seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(shown), (BATCH,), generator=order)
        loss = torch.nn.functional.cross_entropy(model(tokens[chosen]).logits[:, -1], targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), frozenset(grid for grid, _ in shown)


def says_solvable(model: Any, grids: Sequence[Grid]) -> list[bool]:
    """What a model answers."""
    import torch

    with torch.inference_mode():
        logits = model(encoded(grids)).logits[:, -1]
    said: list[bool] = (logits[:, SOLVABLE] > logits[:, UNSOLVABLE]).tolist()
    return said
