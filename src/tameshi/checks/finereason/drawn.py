"""The items that a check is about, and what one answer to one of them is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from tameshi.evaluation import finereason as fr
from tameshi.evaluation.finereason.scoring import Judged
from tameshi.evaluation.messages import Unparsed
from tameshi.nouns import Items, Missing

SETS: dict[str, tuple[fr.Kind, int]] = {
    "sudoku 4x4": ("sudoku", 4),
    "sudoku": ("sudoku", 9),
    "graph_coloring": ("graph_coloring", 0),
    "game24": ("game24", 0),
    "logic_grid": ("logic_grid", 0),
}
Drawn = Callable[[], Sequence[fr.Item]]


def sets(count: int, seed: int, data: Sequence[Path] | None) -> dict[str, Drawn]:
    """The name of every set of items -> what draws it, or reads it.

    Raises:
        ValueError: no items wanted, a file that is not there, or two of one name.
    """
    if count < 1:
        raise ValueError(f"--items must be at least 1, got {count}")
    if data:
        names = [path.stem.removesuffix("_states") for path in data]
        for path in data:
            if not path.expanduser().is_file():
                raise ValueError(f"the file of puzzle states {path} does not exist")
        if len(set(names)) < len(names):
            raise ValueError(f"files of puzzle states need names of their own, got {', '.join(map(str, data))}")
        return {path.stem.removesuffix("_states"): cache(partial(_official, path, count)) for path in data}
    return {name: cache(partial(fr.build_items, kind, count, seed, size=size)) for name, (kind, size) in SETS.items()}


def _official(path: Path, count: int) -> list[fr.Item]:
    return fr.read_official(path)[:count]


def one_each(items: Sequence[fr.Item]) -> list[fr.Item]:
    """One item of every puzzle."""
    return list({item.group: item for item in items}.values())


def as_items(values: Sequence[float | Missing], items: Sequence[fr.Item]) -> Items:
    """One value for each item; items of one puzzle are not independent."""
    return Items(values, [item.id for item in items], [item.group for item in items])


def worth(judged: Judged) -> float | Missing:
    """1 for a right answer, 0 for a wrong one, missing with its reason for one that could not be read."""
    return Missing(judged.reason) if isinstance(judged, Unparsed) else float(judged.correct)
