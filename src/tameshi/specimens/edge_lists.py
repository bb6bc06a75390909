"""Graphs and pairs of nodes as people keep them: text files of two names a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
LARGEST = 2_000_000_000  # bytes of one file


@dataclass(frozen=True)
class Named:
    """A graph read from an edge list, with the names of its nodes.

    Args:
        names: of node 0, 1, ...; numbers in their order, other words in theirs.
        edges: (2, m).
    """

    names: tuple[str, ...]
    edges: Integers

    @cached_property
    def places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}


def edge_list(file: Path) -> Named:
    """Read an edge list: two names a line, separated by commas, tabs or spaces; "#" begins a comment, a first line that says
    "source", "node1" or the like is a heading.

    Raises:
        ValueError: not there, no edge, or a line without two names; names file and line.
    """
    lines = two_columns(file)
    names = sorted(
        {name for pair in lines for name in pair}, key=lambda n: (not n.isdigit(), int(n) if n.isdigit() else 0, n)
    )
    places = {name: i for i, name in enumerate(names)}
    edges = {tuple(sorted((places[u], places[v]))) for u, v in lines}
    return Named(tuple(names), np.array(sorted(edges), dtype=np.int64).reshape(-1, 2).T)


HEADINGS = {
    "source",
    "target",
    "node1",
    "node2",
    "from",
    "to",
    "u",
    "v",
    "graph1",
    "graph2",
    "src",
    "dst",
    "left",
    "right",
}


def two_columns(file: Path) -> list[tuple[str, str]]:
    """The first two words of every line of a text file, without its heading. ValueError names file and line."""
    if not file.is_file():
        raise ValueError(f"the file {file} does not exist")
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes; {LARGEST:,} are read at most")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}") from error
    found: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.split("#")[0].strip()
        if not bare:
            continue
        words = [w.strip().strip('"') for w in re.split(r"[,;\t]" if re.search(r"[,;\t]", bare) else r"\s+", bare)]
        if len(words) < 2 or not words[0] or not words[1]:
            raise ValueError(f"{file}, line {number}, must name two nodes, got {line[:60]!r}")
        if not found and words[0].lower() in HEADINGS and words[1].lower() in HEADINGS:
            continue
        found.append((words[0], words[1]))
    if not found:
        raise ValueError(f"{file} holds no pair of nodes")
    return found


def places_of(pairs: Iterable[tuple[str, str]], first: Named, second: Named, file: Path) -> Integers:
    """(k, 2) numbers of named pairs. ValueError for a name that its graph does not have."""
    numbers = []
    for u, v in pairs:
        for side, name, graph in ((1, u, first), (2, v, second)):
            if name not in graph.places:
                raise ValueError(f"{file} names {name!r}, which is no node of graph {side}")
        numbers.append((first.places[u], second.places[v]))
    return np.array(numbers, dtype=np.int64).reshape(-1, 2)
