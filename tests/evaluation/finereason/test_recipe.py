"""The GRPO recipe: two steps on a tiny model, and a reward for both kinds of question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training.finereason_grpo import mixture, reward, train

from tameshi.doors import models
from tameshi.evaluation.finereason import training_set


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL's, about names of transformers
def test_two_steps_of_the_recipe_run_and_leave_a_model_that_opens(tiny_chat: Path, tmp_path: Path) -> None:
    math = tmp_path / "math.jsonl"
    math.write_text('{"prompt": "1 + 1?", "answer": 2}\n{"prompt": "2 + 2?", "answer": 4}\n')
    trainer = train(str(tiny_chat), tmp_path / "out", math=math, rows=9, dry=True)
    assert trainer.state.global_step == 2
    assert any("reward" in entry for entry in trainer.state.log_history)
    models.causal_lm(models.look_at(tmp_path / "out" / "model"))


def test_the_reward_of_the_mixture_knows_both_kinds() -> None:
    (row,) = training_set(["game24"], 1, questions=["sc"]).to_list()
    right = f"Answer: {'(A)' if row['status'] == 'Solvable' else '(B)'}"
    columns = {"item": [row["item"], "", ""], "question": ["sc", "", ""], "answer": ["", "1234", "5"]}
    assert reward([right, "so it is 1,234", "4"], **columns) == [1.1, 1.0, 0.0]


def test_four_parts_of_mathematics_go_with_one_of_puzzles(tmp_path: Path) -> None:
    math = tmp_path / "math.jsonl"
    math.write_text("".join(json.dumps({"prompt": f"{i}?", "answer": i}) + "\n" for i in range(100)))
    rows = mixture(math, rows=12, size=4, seed=0)
    assert sum(not item for item in rows["item"]) == 48
    assert len(rows) == 60


def test_mathematics_alone_is_as_many_questions_as_the_mixture(tmp_path: Path) -> None:
    math = tmp_path / "math.jsonl"
    math.write_text("".join(json.dumps({"prompt": f"{i}?", "answer": i}) + "\n" for i in range(60)))
    rows = mixture(math, rows=12, size=4, seed=0, math_only=True)
    assert (len(rows), set(rows["item"])) == (60, {""})
    with pytest.raises(ValueError, match="holds 60 questions; mathematics alone needs 65"):
        mixture(math, rows=13, size=4, seed=0, math_only=True)
