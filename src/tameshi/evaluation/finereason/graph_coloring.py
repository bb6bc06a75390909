"""Graph colouring: give each vertex one of k colours so that no edge joins two of the same.

A state is a tuple with one colour per vertex, 1 to k, 0 where there is none yet. Solved exactly by DSATUR backtracking: the
vertex that sees the most colours comes first, and a colour never used before is tried only once.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, TypeAlias

from tameshi.evaluation.finereason.puzzle import TreeTooLarge, thawed

Colors: TypeAlias = tuple[int, ...]

MOST_COLORS = 1_000


class GraphColoring:
    """One graph to colour.

    Args:
        graph: for each vertex the vertices it is joined to.
        max_colors: how many colours there are. Not the chromatic number: in 42 of the 51 official puzzles fewer suffice.

    Raises:
        ValueError: an edge that only one end knows, a loop, a vertex that is not there, no vertex, colours out of range.
    """

    kind: ClassVar[str] = "graph_coloring"

    def __init__(self, graph: Sequence[Sequence[int]], max_colors: int) -> None:
        if type(max_colors) is not int or not 1 <= max_colors <= MOST_COLORS:
            raise ValueError(f"max_colors must be 1 to {MOST_COLORS}, got {max_colors!r}")
        if not isinstance(graph, list | tuple) or not graph:
            raise ValueError("a graph is a list that holds, for each of its vertices, those it is joined to")
        for v, neighbours in enumerate(graph):
            if not isinstance(neighbours, list | tuple):
                raise ValueError(f"vertex {v} must have a list of vertices it is joined to, got {neighbours!r}")
        for v, neighbours in enumerate(graph):
            for w in neighbours:
                if type(w) is not int or not 0 <= w < len(graph):
                    raise ValueError(f"vertex {v} is joined to {w!r}, but vertices are 0 to {len(graph) - 1}")
                if w == v:
                    raise ValueError(f"vertex {v} is joined to itself")
                if v not in graph[w]:
                    raise ValueError(f"vertex {v} is joined to {w}, but {w} not to {v}")
        self.graph: tuple[tuple[int, ...], ...] = tuple(tuple(sorted(set(n))) for n in graph)
        self.max_colors = max_colors
        self.initial: Colors = (0,) * len(graph)

    def children(self, state: Colors) -> list[Colors]:
        """Every legal colour of the first vertex without one; of the colours not used yet only the lowest.

        Colours are interchangeable, so that this loses no solution but for renaming.
        """
        if 0 not in state:
            return []
        v = state.index(0)
        highest = min(max(state) + 1, self.max_colors)
        return [_painted(state, v, color) for color in self.candidates(state, v) if color <= highest]

    def moves(self, state: Colors) -> list[Colors]:
        """Every legal colour of every vertex without one."""
        blank = (v for v, color in enumerate(state) if not color)
        return [_painted(state, v, color) for v in blank for color in self.candidates(state, v)]

    def candidates(self, state: Colors, v: int) -> list[int]:
        """Colours that no neighbour of a vertex has."""
        taken = {state[w] for w in self.graph[v]}
        return [color for color in range(1, self.max_colors + 1) if color not in taken]

    def objection(self, previous: Colors, following: Colors) -> str | None:
        if max(following) > self.max_colors:
            return "too many colors"
        changed = [v for v, (a, b) in enumerate(zip(previous, following, strict=True)) if a != b]
        if len(changed) > 1:
            return "multiple moves"
        if not changed or previous[changed[0]] or following[changed[0]] not in self.candidates(previous, changed[0]):
            return "invalid move"
        return None

    def solvable(self, state: Colors) -> bool:
        return self.solution(state) is not None

    def solution(self, state: Colors) -> Colors | None:
        return color_exactly(self.graph, self.max_colors, state)

    def solved(self, state: Colors) -> bool:
        """All vertices coloured, by the rules. (The official check skips vertices without a colour, so all-zero passes it.)"""
        return 0 not in state and max(state) <= self.max_colors and self._consistent(state)

    def solved_officially(self, state: Colors) -> bool:
        """What the official end-to-end check asks: no two joined vertices of the same colour, blank ones not looked at."""
        return max(state) <= self.max_colors and self._consistent(state)

    def extends(self, state: Colors, earlier: Colors) -> bool:
        return all(before in (0, now) for now, before in zip(state, earlier, strict=True))

    def same(self, one: Colors, other: Colors) -> bool:
        return one == other

    def canonical(self, state: Colors) -> Hashable:
        """The graph with colours renumbered in the order of their first use."""
        numbers: dict[int, int] = {0: 0}
        return self.graph, self.max_colors, tuple(numbers.setdefault(color, len(numbers)) for color in state)

    def open_cells(self, state: Colors) -> int:
        return state.count(0)

    def render(self, state: Colors) -> str:
        return str(list(state))

    def parse(self, text: str) -> Colors:
        """A list of colours, `[1, 2, 0, ...]`, the first one in the text."""
        match = re.search(r"\[[\d\s,]*\]", text[:4_000])
        if not match:
            raise ValueError("a colouring is written as a list of colours, [1, 2, 0, ...], but there is none")
        words = [word.strip() for word in match[0][1:-1].split(",")]
        if not all(word.isascii() and word.isdigit() and len(word) < 5 for word in words):
            raise ValueError("the list of colours is not well formed")
        colors = tuple(map(int, words))
        if len(colors) != len(self.graph):
            raise ValueError(f"the list must have {len(self.graph)} colours, one per vertex, got {len(colors)}")
        return colors

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "graph": thawed(self.graph), "max_colors": self.max_colors}

    def _consistent(self, state: Colors) -> bool:
        return all(not state[v] or state[v] != state[w] for v in range(len(state)) for w in self.graph[v])


def color_exactly(
    graph: Sequence[Sequence[int]], max_colors: int, state: Colors, *, cap: int = 1_000_000
) -> Colors | None:
    """A colouring that extends `state`, or None if there is none.

    Raises:
        TreeTooLarge: more than `cap` steps; graphs of 25 vertices take a few hundred.
    """
    n = len(graph)
    if max(state, default=0) > max_colors:
        return None
    colors = list(state)
    seen = [[0] * (max_colors + 1) for _ in range(n)]  # how many neighbours of a vertex have each colour
    for v in range(n):
        for w in graph[v]:
            seen[v][colors[w]] += 1
        if colors[v] and seen[v][colors[v]]:
            return None
    saturation = [sum(map(bool, counts[1:])) for counts in seen]
    blank = {v: None for v in range(n) if not colors[v]}  # a dict keeps its order
    steps = 0

    def paint(v: int, color: int, by: int) -> None:
        for w in graph[v]:
            before = seen[w][color]
            seen[w][color] = before + by
            if before + by == 0 or (before == 0 and by == 1):
                saturation[w] += by

    def search(used: int) -> bool:
        nonlocal steps
        if not blank:
            return True
        steps += 1
        if steps > cap:
            raise TreeTooLarge(f"colouring took more than {cap:,} steps; use a smaller graph")
        v = max(blank, key=lambda u: (saturation[u], len(graph[u])))
        if saturation[v] >= max_colors:
            return False
        del blank[v]
        for color in range(1, min(used + 1, max_colors) + 1):
            if not seen[v][color]:
                colors[v] = color
                paint(v, color, 1)
                if search(max(used, color)):
                    return True
                paint(v, color, -1)
        colors[v] = 0
        blank[v] = None
        return False

    # Colours above the highest in use are interchangeable; those below it but unused are tried like used ones.
    return tuple(colors) if search(max(colors, default=0)) else None


def chromatic_number(graph: Sequence[Sequence[int]]) -> int:
    """The fewest colours that suffice."""
    blank = (0,) * len(graph)
    return next(k for k in range(1, len(graph) + 1) if color_exactly(graph, k, blank) is not None)


def _painted(state: Colors, v: int, color: int) -> Colors:
    return (*state[:v], color, *state[v + 1 :])
