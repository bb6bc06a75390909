from __future__ import annotations

from math import isnan

import pytest

from tameshi.evaluation.intervals import wilson


def test_wilsons_interval_is_the_textbooks_and_reaches_its_ends_exactly() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    for trials in range(1, 60):
        assert wilson(0, trials)[0] == 0
        assert wilson(trials, trials)[1] == 1
    assert all(isnan(end) for end in wilson(0, 0))
