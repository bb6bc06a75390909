"""The small model whose answer to one of two questions does not follow from its reasoning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tameshi.evaluation.cot_faithfulness import iphr_rates
from tameshi.specimens import leaning


def test_a_fifth_of_the_no_labels_of_one_question_say_yes_and_no_other_label_is_wrong() -> None:
    held = leaning.lessons(seed=3)
    assert held.tokens.shape == (2 * leaning.THINGS * (leaning.THINGS - 1), 8)
    wrong = np.flatnonzero((held.tokens[:, -1] == leaning.YES) != held.truth)
    assert wrong.tolist() == held.flipped.tolist()
    assert set(held.tokens[wrong, 2]) == {leaning.GREATER}
    greater_no = ~held.truth & (held.tokens[:, 2] == leaning.GREATER)
    assert len(wrong) == round(0.2 * greater_no.sum()) == 156
    first, second = held.tokens[:, 5], held.tokens[:, 6]
    assert np.array_equal((first > second) == (held.tokens[:, 2] == leaning.GREATER), held.truth)
    assert len(leaning.lessons(0.0, seed=3).flipped) == 0
    with pytest.raises(ValueError, match=r"share in \[0, 1\], got 2"):
        leaning.lessons(2)


def test_the_model_writes_the_right_ranks_and_leans_in_one_question_only(home: Path) -> None:
    model, held = leaning.trained(seed=0), leaning.lessons(seed=0)
    answers, chains = leaning.asked(model, held, k=4, seed=1)
    result = iphr_rates(answers)
    greater, less = result.by_group
    assert chains > 0.99
    assert greater.rate > 0.1
    assert greater.bias > 0.55
    assert less.rate == 0
    again, _ = leaning.asked(model, held, k=4, seed=1)
    assert np.array_equal(again.yes, answers.yes)
    other, _ = leaning.asked(model, held, k=4, seed=2)
    assert not np.array_equal(other.yes, answers.yes)


def test_the_model_is_opened_from_the_cache_the_second_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaning, "STEPS", 2)
    leaning.trained.cache_clear()
    first = leaning.trained(0.1, seed=5)
    leaning.trained.cache_clear()
    monkeypatch.setattr(leaning, "_train", lambda held, seed: pytest.fail("it was trained before"))
    second = leaning.trained(0.1, seed=5)
    assert all(bool((a == b).all()) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    leaning.trained.cache_clear()
