"""What the four engines have in common: a puzzle is a tree of states, and its labels are exact.

A state is `solvable` if some sequence of legal moves leads from it to a solution. Nothing here enumerates a tree to find out:
every engine solves its states, and the tests enumerate small trees to see that the two agree.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

State: TypeAlias = Any  # nested tuples of ints and strings; each engine says which


class TreeTooLarge(ValueError):
    """A search that would not end in reasonable time: names the cap that it ran into."""


class Puzzle(Protocol):
    """One puzzle: its rules, its initial state, and questions about its states.

    `children` are the moves that a depth-first search tries at a state (Sudoku: digits of the first empty cell), `moves` all
    legal single moves. A state that is not solved is solvable exactly if one of its children is, and exactly if one of its
    moves is.
    """

    kind: ClassVar[str]
    initial: State

    def moves(self, state: State) -> list[State]: ...
    def children(self, state: State) -> list[State]: ...
    def objection(self, previous: State, following: State) -> str | None:
        """Why this is not one legal move forward, in the paper's words for errors; None if it is one."""

    def solvable(self, state: State) -> bool: ...
    def solution(self, state: State) -> State | None: ...
    def solved(self, state: State) -> bool: ...
    def extends(self, state: State, earlier: State) -> bool:
        """Whether `state` can have come from `earlier` by moves forward alone."""

    def same(self, one: State, other: State) -> bool: ...
    def canonical(self, state: State) -> Hashable:
        """Equal for states that differ in names only, so that no item is asked twice."""

    def open_cells(self, state: State) -> int: ...
    def render(self, state: State) -> str: ...
    def parse(self, text: str) -> State:
        """Inverse of `render`; ValueError with the place for text that is no state of this puzzle."""

    def to_json(self) -> dict[str, Any]: ...


def is_legal(puzzle: Puzzle, previous: State, following: State) -> bool:
    """Whether `following` is one legal move forward from `previous`."""
    return puzzle.objection(previous, following) is None


@dataclass(frozen=True)
class Node:
    """A state in a search tree, with its label."""

    state: State
    parent: State | None
    depth: int
    solvable: bool


def tree(puzzle: Puzzle, state: State | None = None, *, cap: int = 100_000) -> Iterator[Node]:
    """Depth-first through `children`, with labels carried back from the leaves; a node comes after its subtree.

    Raises:
        TreeTooLarge: more than `cap` nodes.
    """
    visited = 0

    def descend(state: State, parent: State | None, depth: int) -> Iterator[Node]:
        nonlocal visited
        visited += 1
        if visited > cap:
            raise TreeTooLarge(f"the tree has more than {cap:,} nodes; ask for single states with solvable()")
        found = puzzle.solved(state)
        if not found:
            for child in puzzle.children(state):
                for node in descend(child, state, depth + 1):
                    yield node
                found |= node.solvable  # the last node of a subtree is its root
        yield Node(state, parent, depth, found)

    yield from descend(puzzle.initial if state is None else state, None, 0)


def frozen(value: Any) -> State:
    """Lists as tuples, all the way down: what came from JSON becomes a state."""
    return tuple(frozen(v) for v in value) if isinstance(value, list | tuple) else value


def thawed(state: State) -> Any:
    """Tuples as lists, all the way down: a state as JSON holds it."""
    return [thawed(v) for v in state] if isinstance(state, tuple) else state


def puzzle_from_json(saved: Mapping[str, Any]) -> Puzzle:
    """Inverse of `Puzzle.to_json`.

    Raises:
        ValueError: an unknown kind, or content that the engine refuses.
    """
    from tameshi.evaluation.finereason.game24 import Game24
    from tameshi.evaluation.finereason.graph_coloring import GraphColoring
    from tameshi.evaluation.finereason.logic_grid import LogicGrid
    from tameshi.evaluation.finereason.sudoku import Sudoku

    engines: dict[str, Any] = {e.kind: e for e in (Sudoku, GraphColoring, Game24, LogicGrid)}
    rest = {name: value for name, value in saved.items() if name != "kind"}
    if saved.get("kind") not in engines:
        raise ValueError(f"a puzzle's kind must be one of {', '.join(engines)}, got {saved.get('kind')!r}")
    puzzle: Puzzle = engines[saved["kind"]](**rest)
    return puzzle
