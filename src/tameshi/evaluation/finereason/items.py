"""Questions about single states: current state, its way from the start, one failed child, and the true labels.

One `Item` serves both questions of the paper: *state checking* (can this state still reach a solution?) and *state transition*
(which single move comes next, given the labels?). Items are balanced over status and depth, and no state is asked twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, TypeAlias

from tameshi.evaluation.finereason.generators import KINDS, Kind, draw_puzzle
from tameshi.evaluation.finereason.puzzle import Node, Puzzle, State, frozen, puzzle_from_json, thawed

Status: TypeAlias = Literal["Solvable", "Unsolvable"]
Part: TypeAlias = Literal["initial", "grandparent", "parent", "current"]

EDGES: dict[str, tuple[float, ...]] = {
    # Upper ends of the depth bins, as shares of all moves to the solution; the last bin is open. No solvable Sudoku state
    # near the end has a legal wrong move left, so that the last bin begins at 0.6.
    "sudoku": (0.2, 0.4, 0.6),
    "graph_coloring": (0.3, 0.45, 0.6),
    "game24": (0.5,),
    "logic_grid": (0.35, 0.6),
}
STATES = ("current", "parent", "grandparent", "unsolvable_child")
TRIES = 20  # puzzles drawn for each item wanted, and 1,000 more, before the generator gives up


class NotEnoughItems(ValueError):
    """A status and depth for which the generator finds too few states."""


@dataclass(frozen=True)
class Item:
    """One state to be asked about.

    Args:
        id: names the item within its set.
        group: items of one puzzle share it; they are not independent.
        puzzle: the rules.
        current: the state asked about; neither solved nor the root.
        parent: the state before it.
        grandparent: the state before that; None where the parent is the root.
        unsolvable_child: a legal move from the current state that leads nowhere, shown as a hint.
        status: the true label of the current state.
        depth: moves from the root.
        path: the states from the root to the parent, where moves have names that a question shows (logic grids).
    """

    id: str
    group: str
    puzzle: Puzzle
    current: State
    parent: State
    grandparent: State | None
    unsolvable_child: State
    status: Status
    depth: int
    path: tuple[State, ...] = ()

    @property
    def kind(self) -> str:
        return self.puzzle.kind

    @property
    def open_cells(self) -> int:
        return self.puzzle.open_cells(self.current)

    @property
    def stage(self) -> int:
        """How far the current state is on the way to a solution: which of the kind's depth bins it lies in, from 1."""
        return 1 + _depth_bin(self.puzzle, self.current)

    def label(self, part: Part) -> Status | None:
        """The true label of one of the states, None where there is no such state."""
        if part == "current":
            return self.status
        state = self.puzzle.initial if part == "initial" else getattr(self, part)
        return None if state is None else "Solvable" if self.puzzle.solvable(state) else "Unsolvable"

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        states = {name: thawed(getattr(self, name)) for name in STATES}
        rest = {"id": self.id, "group": self.group, "status": self.status, "depth": self.depth}
        return {"puzzle": self.puzzle.to_json(), **states, **rest, "path": thawed(self.path)}


def item_from_json(saved: Mapping[str, Any]) -> Item:
    """Inverse of `Item.to_json`."""
    states = {name: frozen(saved[name]) for name in STATES}
    rest = {name: saved[name] for name in ("id", "group", "status", "depth")}
    return Item(puzzle=puzzle_from_json(saved["puzzle"]), **states, **rest, path=frozen(saved.get("path", ())))


def build_items(puzzle: Kind, n: int = 100, seed: int = 0, *, size: int = 0) -> list[Item]:
    """Draw items, the same number of each status at each depth (one more or less where `n` does not divide).

    A puzzle gives one solvable and one unsolvable state at most, since states of one puzzle are not independent (the official
    files take ten of each puzzle).

    Args:
        puzzle: which engine.
        n: how many items.
        seed: decides everything.
        size: see `draw_puzzle`.

    Raises:
        NotEnoughItems: a combination of status and depth stays empty.
    """
    if puzzle not in KINDS:
        raise ValueError(f"the puzzle must be one of {', '.join(KINDS)}, got {puzzle!r}")
    size = size or (9 if puzzle == "sudoku" else 0)  # what is left out and what is spelt out draw the same
    rng = Random(f"finereason {puzzle} {size} {seed}")
    cells: list[tuple[Status, int]] = [
        (status, b) for b in range(len(EDGES[puzzle]) + 1) for status in ("Solvable", "Unsolvable")
    ]
    wanted = Counter({cell: n // len(cells) + (i < n % len(cells)) for i, cell in enumerate(cells)})
    seen: set[object] = set()
    items: list[Item] = []
    most = 1_000 + TRIES * n
    for number in range(most):
        if not +wanted:
            return items
        drawn = draw_puzzle(puzzle, rng, size=size)
        taken: set[Status] = set()
        walk = list(_walk(drawn, rng))
        for node, before in rng.sample(walk, len(walk)):
            status: Status = "Solvable" if node.solvable else "Unsolvable"
            cell = (status, _depth_bin(drawn, node.state))
            key = drawn.canonical(node.state)
            if status in taken or not wanted[cell] or key in seen:
                continue
            child = _failed_child(drawn, node, rng)
            if child is None:
                continue
            seen.add(key)
            wanted[cell] -= 1
            taken.add(status)
            group = f"{puzzle}-{seed}-puzzle-{number}"
            id_ = f"{puzzle}-{seed}-{len(items)}"
            grandparent = before[-2] if len(before) > 1 else None
            path = before if puzzle == "logic_grid" else ()
            items.append(Item(id_, group, drawn, node.state, node.parent, grandparent, child, status, node.depth, path))
    status, bin_ = next(iter(+wanted))
    raise NotEnoughItems(f"{most:,} puzzles of {puzzle} hold too few {status} states in depth bin {bin_}")


def _walk(puzzle: Puzzle, rng: Random) -> Iterator[tuple[Node, tuple[State, ...]]]:
    """A random way down the tree: (node, the states before it), the root left out, the last one not solved.

    While the state can be solved, a step goes to a solvable child with probability 0.8, so that both labels occur at every
    depth (our choice).
    """
    before: tuple[State, ...] = ()
    state, solvable = puzzle.initial, True
    while True:
        children = puzzle.children(state)
        if not children:
            return
        if solvable:
            good = [child for child in children if puzzle.solvable(child)]
            bad = [child for child in children if child not in good]
            solvable = bool(good) and (not bad or rng.random() < 0.8)
            chosen = rng.choice(good if solvable else bad) if good or bad else None
        else:
            chosen = rng.choice(children)
        if chosen is None or puzzle.solved(chosen):
            return
        before, state = (*before, state), chosen
        yield Node(state, before[-1], len(before), solvable), before


def _failed_child(puzzle: Puzzle, node: Node, rng: Random) -> State | None:
    """A legal move that leads nowhere: one that the search would try if there is one, else any."""
    for moves in (puzzle.children(node.state), puzzle.moves(node.state)):
        failed = moves if not node.solvable else [m for m in moves if not puzzle.solvable(m)]
        if failed:
            return rng.choice(failed)
    return None


def _depth_bin(puzzle: Puzzle, state: State) -> int:
    share = 1 - puzzle.open_cells(state) / puzzle.open_cells(puzzle.initial)
    return sum(share >= edge for edge in EDGES[puzzle.kind])
