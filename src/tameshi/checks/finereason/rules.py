"""How each claim of FineReason is judged."""

from __future__ import annotations

from typing import Any

from tameshi.nouns import AllOf, Beats, Difference, Orders, OutOfReach, Reaches, Rule


def _needs(en: str, ja: str, option: str, claim: str, then: Rule | None = None) -> OutOfReach:
    return OutOfReach(claim, {"en": en, "ja": ja}, option, then)


SUDOKU_SC: dict[str, Any] = {"puzzle": "sudoku", "question": "sc"}
SUDOKU_ST: dict[str, Any] = {"puzzle": "sudoku", "question": "st"}
SUDOKU_E2E: dict[str, Any] = {"puzzle": "sudoku", "question": "e2e"}

RULES: list[Rule] = [
    _needs(
        "It compares a general with a reasoning language model; no small model of ours is either.",
        "汎用の言語モデルと推論モデルの比較であり、付属の小さなモデルはどちらでもない。",
        "--model openai/NAME --reasoning-model openai/NAME",
        "C1",
        AllOf(
            "C1",
            (
                Reaches(
                    claim="C1",
                    check="states",
                    method="model",
                    metric="sc_correct",
                    target=0.6,
                    better="lower",
                    where=SUDOKU_SC,
                ),
                Beats(
                    claim="C1",
                    check="states",
                    method="reasoning model",
                    baseline="model",
                    metric="sc_correct",
                    better="higher",
                    by=Difference(0.1),
                    where=SUDOKU_SC,
                ),
            ),
        ),
    ),
    _needs(
        "It compares two language models that both fail end to end.",
        "どちらも通しでは解けない2つの言語モデルの比較である。",
        "--model openai/NAME --reasoning-model openai/NAME",
        "C2",
        AllOf(
            "C2",
            (
                *(
                    Reaches(
                        claim="C2",
                        check="states",
                        method=name,
                        metric="e2e_correct",
                        target=0.1,
                        better="lower",
                        where=SUDOKU_E2E,
                    )
                    for name in ("model", "reasoning model")
                ),
                Beats(
                    claim="C2",
                    check="states",
                    method="reasoning model",
                    baseline="model",
                    metric="st_correct",
                    better="higher",
                    by=Difference(0.1),
                    where=SUDOKU_ST,
                ),
            ),
        ),
    ),
    _needs(
        "It is about the optimism of large language models, for which a small model trained on this very question cannot stand.",
        "大規模言語モデルの楽観性についての主張であり、この問いだけを学習した小さなモデルでは代わりにならない。",
        "--model openai/NAME",
        "C3",
        Reaches(
            claim="C3",
            check="states",
            method="model",
            metric="unsolvable_recall",
            target=0.5,
            better="lower",
            where=SUDOKU_SC,
        ),
    ),
    _needs(
        "It needs a language model that writes whole states.",
        "状態を丸ごと書ける言語モデルが要る。",
        "--model openai/NAME",
        "C4",
        AllOf(
            "C4",
            (
                Beats(
                    claim="C4",
                    check="states",
                    method="forward",
                    baseline="backtracking",
                    metric="direction",
                    better="higher",
                    where={"puzzle": "sudoku"},
                ),
                Beats(
                    claim="C4",
                    check="states",
                    method="error: backtracking failure",
                    baseline=(
                        "error: sibling",
                        "error: invalid move",
                        "error: multiple moves",
                        "error: unsolvable child",
                    ),
                    metric="error_made",
                    better="higher",
                    where={"puzzle": "sudoku"},
                ),
            ),
        ),
    ),
    Orders(
        claim="C5",
        check="learnt",
        method="small model",
        metric="checked",
        along="empties",
        direction="falls",
        control=("untrained",),
    ),
    _needs(
        "Reinforcement learning of a language model of 1.5 billion parameters needs a GPU; training/finereason_grpo.py is the recipe.",
        "15億パラメータの言語モデルの強化学習にはGPUが要る。手順はtraining/finereason_grpo.pyにある。",
        "python training/finereason_grpo.py --model DIR --math FILE",
        "C6",
    ),
]
