"""State checking by a small trained model: which of the claims are about the task rather than about large models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

from tameshi.evaluation import finereason as fr
from tameshi.evaluation.finereason.policies import has_dead_cell
from tameshi.nouns import Items, Measurement, check, measure
from tameshi.specimens import small_sudoku

EMPTIES = (2, 3, 4, 5, 6)


@check("finereason", seeds=3)
def learnt(*, per_count: int = 160, limit: int | None = None, seed: int = 0) -> Iterator[Measurement]:
    """State checking of 4x4 Sudoku by a small trained model, on as many solvable as unsolvable states per number of open cells.

    Args:
        per_count: states for each number of open cells; at least 2, for half of them are solvable.
    """
    if per_count < 2:
        raise ValueError(f"--per-count must be at least 2, a solvable and an unsolvable state, got {per_count}")
    count = per_count if limit is None else max(2, min(per_count, limit))
    test = cache(partial(_test_states, count, seed))
    for empties in EMPTIES:
        for method in ("small model", "untrained", "null: dead cell"):
            yield measure(method, partial(_checked, method, test, empties, seed), empties=empties)


def _test_states(count: int, seed: int) -> dict[int, list[small_sudoku.State]]:
    _, seen = small_sudoku.trained(seed=seed)
    return small_sudoku.balanced(count, EMPTIES, seed=seed + 1_000, without=seen)


def _checked(
    method: str, test: Callable[[], dict[int, list[small_sudoku.State]]], empties: int, seed: int
) -> dict[str, Items]:
    """Right answers; the n-th state with two open cells is matched with the n-th with three of the same label."""
    states = test()[empties]
    grids = [grid for grid, _ in states]
    if method == "null: dead cell":
        puzzle = fr.Sudoku([[0] * 4] * 4)
        said = [not has_dead_cell(puzzle, grid) for grid in grids]
    elif method == "untrained":
        said = small_sudoku.says_solvable(small_sudoku.untrained(seed=seed + 1_000), grids)
    else:
        said = small_sudoku.says_solvable(small_sudoku.trained(seed=seed)[0], grids)
    found = {"checked": Items(s is t for s, (_, t) in zip(said, states, strict=True))}
    unsolvable = [float(not s) for s, (_, t) in zip(said, states, strict=True) if not t]
    return found | {"unsolvable_recall": Items(unsolvable)}
