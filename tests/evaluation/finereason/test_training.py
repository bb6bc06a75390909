"""Training data, the reward in TRL's signature, and the environment."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from tameshi.evaluation.finereason import item_from_json, puzzle_reward, training_set
from tameshi.evaluation.finereason.env import PuzzleEnv
from tameshi.evaluation.finereason.generators import draw_sudoku
from tameshi.evaluation.finereason.policies import parent_or_any_move


def test_a_training_set_has_the_share_of_unsolvable_states_that_was_asked_for() -> None:
    rows = training_set(["sudoku", "game24"], 100, seed=1, size=4, unsolvable=0.8)
    assert rows.column_names == ["prompt", "question", "item", "status", "puzzle"]
    assert Counter(rows["status"]) == {"Unsolvable": 80, "Solvable": 20}
    assert Counter(rows["puzzle"]) == {"sudoku": 50, "game24": 50}
    assert Counter(rows["question"]) == {"sc": 50, "st": 50}
    assert rows.to_list() == training_set(["sudoku", "game24"], 100, seed=1, size=4, unsolvable=0.8).to_list()


def test_the_reward_pays_for_right_answers_and_a_little_for_readable_ones() -> None:
    rows = training_set(["game24"], 12, questions=["sc"])
    right = [f"Answer: {'(A)' if status == 'Solvable' else '(B)'}" for status in rows["status"]]
    wrong = [f"Answer: {'(B)' if status == 'Solvable' else '(A)'}" for status in rows["status"]]
    columns = {name: rows[name] for name in ("item", "question", "status", "puzzle")}
    assert puzzle_reward(right, prompts=rows["prompt"], trainer_state=None, **columns) == [1.1] * 12
    assert puzzle_reward(wrong, **columns) == [0.1] * 12
    assert puzzle_reward(["?"] * 12, **columns) == [0.0] * 12
    chats = [[{"role": "assistant", "content": text}] for text in right]
    assert puzzle_reward(chats, **columns) == [1.1] * 12


def test_the_reward_of_a_move_is_strict_unless_told_otherwise() -> None:
    rows = training_set(["game24"], 40, questions=["st"], unsolvable=0.0)
    answers = [parent_or_any_move(item_from_json(json.loads(saved))) for saved in rows["item"]]
    columns = {"item": rows["item"], "question": rows["question"]}
    assert puzzle_reward(answers, strict=False, **columns) == [1.1] * 40
    assert 0.1 in puzzle_reward(answers, **columns)


def test_prompts_can_be_conversations() -> None:
    (row,) = training_set(["sudoku"], 1, size=4, chat=True)
    assert [message["role"] for message in row["prompt"]] == ["user"]


def test_an_impossible_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share between 0 and 1, got 1\.5"):
        training_set(["sudoku"], 10, unsolvable=1.5)
    with pytest.raises(ValueError, match="at least one puzzle"):
        training_set([], 10)


@pytest.mark.parametrize(
    ("kind", "size"), [("sudoku", 4), ("sudoku", 9), ("graph_coloring", 12), ("game24", 4), ("logic_grid", 4)]
)
def test_the_environment_passes_gymnasiums_own_check(kind, size) -> None:
    check_env(gymnasium.make("tameshi/Puzzle-v0", puzzle=kind, size=size, render_mode="ansi").unwrapped)


@pytest.mark.parametrize(("kind", "size"), [("sudoku", 4), ("graph_coloring", 12), ("game24", 4), ("logic_grid", 4)])
def test_a_player_that_asks_the_solver_is_paid_once_at_the_end(kind, size) -> None:
    env = PuzzleEnv(kind, size=size)
    _, info = env.reset(seed=3)
    rewards, done = [], False
    while not done:
        children = env.puzzle.children(env.way[-1])
        action = 1 + next(i for i, child in enumerate(children) if env.puzzle.solvable(child))
        assert info["action_mask"][action] == 1
        _, reward, done, truncated, info = env.step(np.int64(action))
        assert not truncated
        rewards.append(reward)
    assert rewards[-1] == 1.0
    assert sum(rewards) == 1.0
    assert info["open_cells"] == 0 or kind == "game24"


def test_an_environment_that_cannot_be_is_refused() -> None:
    for kind, size, told in (
        ("sudoku", 5, "side 4 or 9"),
        ("graph_coloring", 3, "4 to 25 vertices"),
        ("chess", 4, "one of"),
    ):
        with pytest.raises(ValueError, match=told):
            PuzzleEnv(kind, size=size)
    with pytest.raises(ValueError, match="at least one step"):
        PuzzleEnv("game24", max_steps=0)


def test_going_back_undoes_a_move_and_what_does_nothing_costs_a_step() -> None:
    env = PuzzleEnv("sudoku", size=4, max_steps=4)
    first, info = env.reset(seed=0)
    assert info["action_mask"][0] == 0
    moved, *_ = env.step(np.int64(1))
    assert not np.array_equal(first, moved)
    back, _, _, truncated, _ = env.step(np.int64(0))
    assert np.array_equal(first, back)
    env.step(np.int64(0))
    same, _, _, truncated, _ = env.step(np.int64(9))
    assert np.array_equal(first, same)
    assert truncated


def test_the_same_seed_gives_the_same_episode_and_a_puzzle_can_be_given() -> None:
    env = PuzzleEnv("game24")
    assert np.array_equal(env.reset(seed=5)[0], env.reset(seed=5)[0])
    puzzle = draw_sudoku(Random(1))
    env = PuzzleEnv("sudoku", size=9)
    env.reset(options={"puzzle": puzzle})
    assert env.render() == puzzle.render(puzzle.initial)
