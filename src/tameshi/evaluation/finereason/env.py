"""The puzzles as a Gymnasium environment: step forward by a numbered move, or back.

env = PuzzleEnv("sudoku", size=4)
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(int(info["action_mask"].argmax()))
"""

from __future__ import annotations

from random import Random
from typing import Any

try:
    import gymnasium
    import numpy as np
    from gymnasium import spaces
    from numpy.typing import NDArray
except ImportError as error:
    raise ImportError("puzzles as an environment need Gymnasium: pip install 'tameshi[evaluation]'") from error

from tameshi.evaluation.finereason.game24 import value
from tameshi.evaluation.finereason.generators import KINDS, Kind, draw_puzzle
from tameshi.evaluation.finereason.logic_grid import LogicGrid
from tameshi.evaluation.finereason.puzzle import Puzzle, State

Observation = NDArray[np.float32]

MOVES: dict[str, int] = {"sudoku": 9, "graph_coloring": 25, "game24": 36, "logic_grid": 1_024}
CELLS: dict[str, int] = {"sudoku": 81, "graph_coloring": 25, "game24": 4, "logic_grid": 16}


class PuzzleEnv(gymnasium.Env[Observation, np.int64]):
    """One puzzle an episode. Action 0 goes back one move; action i makes the i-th move that the search would try.

    The observation holds the cells (colours, numbers; of a logic grid the number of the option in its column), padded with -1.
    `info["action_mask"]` marks the actions that do something. The reward is 1 at the solution, else 0.

    Args:
        puzzle: which engine.
        size: of a Sudoku, 4 or 9; of a graph, its vertices, 4 to 25.
        max_steps: after so many the episode is truncated.
        render_mode: "ansi" or None; `render` gives the state as text either way.

    Raises:
        ValueError: an unknown kind, a size that is not drawn, or no step at all.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  Gymnasium's name

    def __init__(
        self, puzzle: Kind = "sudoku", *, size: int = 4, max_steps: int = 200, render_mode: str | None = None
    ) -> None:
        if puzzle not in KINDS:
            raise ValueError(f"the puzzle must be one of {', '.join(KINDS)}, got {puzzle!r}")
        if puzzle == "graph_coloring" and not 4 <= size <= CELLS["graph_coloring"]:
            raise ValueError(f"a graph has 4 to {CELLS['graph_coloring']} vertices here, got size={size}")
        if puzzle == "sudoku" and size not in (4, 9):
            raise ValueError(f"a Sudoku has side 4 or 9 here, got size={size}")
        if max_steps < 1:
            raise ValueError(f"an episode has at least one step, got max_steps={max_steps}")
        self.kind, self.size, self.max_steps, self.render_mode = puzzle, size, max_steps, render_mode
        largest = 1e16 if puzzle == "game24" else float(CELLS[puzzle])  # five numbers of three digits multiply to less
        self.action_space = spaces.Discrete(1 + MOVES[puzzle])
        self.observation_space = spaces.Box(-largest, largest, (CELLS[puzzle],), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new puzzle; `options={"puzzle": ...}` gives one instead of drawing it."""
        super().reset(seed=seed)
        given = (options or {}).get("puzzle")
        drawn = int(self.np_random.integers(2**62))
        size = self.size if self.kind in ("sudoku", "graph_coloring") else 0
        self.puzzle: Puzzle = draw_puzzle(self.kind, Random(drawn), size=size) if given is None else given
        self.way: list[State] = [self.puzzle.initial]
        self.steps = 0
        return self._observation(), self._info()

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """An action that does nothing leaves the state as it is, and costs a step."""
        self.steps += 1
        children = self._children()
        if action == 0 and len(self.way) > 1:
            self.way.pop()
        elif 1 <= action <= len(children):
            self.way.append(children[int(action) - 1])
        solved = self.puzzle.solved(self.way[-1])
        return self._observation(), float(solved), solved, self.steps >= self.max_steps, self._info()

    def render(self) -> str:
        return self.puzzle.render(self.way[-1])

    def _children(self) -> list[State]:
        return self.puzzle.children(self.way[-1])[: MOVES[self.kind]]

    def _info(self) -> dict[str, Any]:
        mask = np.zeros(1 + MOVES[self.kind], dtype=np.int8)
        mask[1 : 1 + len(self._children())] = 1
        mask[0] = len(self.way) > 1
        return {"action_mask": mask, "open_cells": self.puzzle.open_cells(self.way[-1])}

    def _observation(self) -> Observation:
        state = self.way[-1]
        if self.kind == "game24":
            cells = [float(value(expression)) for expression in state]
        elif self.kind == "logic_grid":
            assert isinstance(self.puzzle, LogicGrid)
            options = [list(column) for column in self.puzzle.categories.values()]
            cells = [0.0 if v == "" else 1.0 + options[c].index(v) for row in state for c, v in enumerate(row)]
        else:
            cells = [float(v) for v in np.ravel(state)]
        return np.array((cells + [-1.0] * CELLS[self.kind])[: CELLS[self.kind]], dtype=np.float32)


if "tameshi/Puzzle-v0" not in gymnasium.registry:
    gymnasium.register("tameshi/Puzzle-v0", entry_point="tameshi.evaluation.finereason.env:PuzzleEnv")
