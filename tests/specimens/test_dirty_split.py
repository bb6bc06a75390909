import numpy as np
import pytest

from tameshi.specimens.dirty_split import split, with_outliers
from tameshi.specimens.table import Table


def test_training_rows_are_standardised_and_the_truth_is_tested():
    table = Table.open("specimen:friedman")
    drawn = split(table, None, 0, 0.3, 800, 0)
    assert drawn.X.shape == (800, 5)
    assert len(drawn.yt) == 2000
    np.testing.assert_allclose(drawn.X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose([drawn.y.mean(), drawn.y.std()], [0, 1], atol=1e-12)
    rows = [int(i.rsplit("#", 1)[1]) for i in drawn.ids]
    assert np.corrcoef(drawn.yt, table.truth[rows])[0, 1] == pytest.approx(1), "without noise and without outliers"


def test_a_series_is_split_in_time():
    series = Table("t", "0", ("y", "x"), np.random.default_rng(0).normal(size=(200, 2)))
    drawn = split(series, "y", 8, 0.0, 800, 0)
    assert drawn.X.shape[1] == 8
    assert [int(i.rsplit("#", 1)[1]) for i in drawn.ids] == list(range(134, 192))


def test_outliers_are_as_many_and_as_far_off_as_they_should_be():
    y = np.random.default_rng(0).normal(size=5000)
    shift = (with_outliers(y, 0.3, np.random.default_rng(1)) - y) / y.std()
    hit = shift != 0
    assert hit.mean() == pytest.approx(0.3, abs=0.02)
    assert np.abs(shift[hit]).min() >= 3
    assert np.abs(shift[hit]).max() <= 8
    assert (shift[hit] > 0).mean() == pytest.approx(0.5, abs=0.05)
