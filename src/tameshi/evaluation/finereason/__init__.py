"""FineReason: questions inside the search for a puzzle's solution, each with an exact label.

Chen et al. 2025, arXiv:2502.20238. A puzzle is a tree of states. *State checking*: can this state still be solved? *State
transition*: which single move comes next, forward or back? Four engines (Sudoku, graph colouring, Game of 24, logic grids) solve
every state, so that labels are sure, items can be drawn without end, and the same trees give verifiable rewards.

    from tameshi.evaluation.finereason import build_items, checking_prompt, score_sc
    items = build_items("sudoku", 100, size=4)
    outcome = score_sc("... Answer: (B)", items[0])

The engines, items and scores need Python alone. `tasks` holds the Inspect AI tasks, `training` the data set and the reward for
TRL, `env` the Gymnasium environment.
"""

from tameshi.evaluation.finereason.clues import Clue, UnsafeClueError, parse_clue
from tameshi.evaluation.finereason.game24 import Game24
from tameshi.evaluation.finereason.generators import KINDS, Kind, draw_puzzle
from tameshi.evaluation.finereason.graph_coloring import GraphColoring
from tameshi.evaluation.finereason.items import Item, NotEnoughItems, build_items, item_from_json
from tameshi.evaluation.finereason.logic_grid import LogicGrid
from tameshi.evaluation.finereason.official import read_official
from tameshi.evaluation.finereason.prompts import checking_prompt, solution_prompt, transition_prompt
from tameshi.evaluation.finereason.puzzle import Node, Puzzle, TreeTooLarge, is_legal, puzzle_from_json, tree
from tameshi.evaluation.finereason.scoring import (
    Detection,
    Outcome,
    detection,
    error_counts,
    judge_move,
    read_state,
    read_status,
    score_e2e,
    score_sc,
    score_st,
)
from tameshi.evaluation.finereason.sudoku import Sudoku
from tameshi.evaluation.finereason.training import puzzle_reward, training_set

__all__ = [
    "KINDS",
    "Clue",
    "Detection",
    "Game24",
    "GraphColoring",
    "Item",
    "Kind",
    "LogicGrid",
    "Node",
    "NotEnoughItems",
    "Outcome",
    "Puzzle",
    "Sudoku",
    "TreeTooLarge",
    "UnsafeClueError",
    "build_items",
    "checking_prompt",
    "detection",
    "draw_puzzle",
    "error_counts",
    "is_legal",
    "item_from_json",
    "judge_move",
    "parse_clue",
    "puzzle_from_json",
    "puzzle_reward",
    "read_official",
    "read_state",
    "read_status",
    "score_e2e",
    "score_sc",
    "score_st",
    "solution_prompt",
    "training_set",
    "transition_prompt",
    "tree",
]
