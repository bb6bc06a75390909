import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.tabular.calibration import LEVELS, calibration_report, conformal_scale, coverage, relative_error


def test_the_report_of_four_predictions_worked_by_hand():
    truth, mean = np.array([100.0, 200.0, 50.0, 10.0]), np.array([110.0, 198.0, 60.0, 10.0])
    report = calibration_report(truth, mean, np.array([5.0, 4.0, 5.0, 0.5]))
    assert report.mean_error == pytest.approx((0.1 + 0.01 + 0.2 + 0) / 4)
    assert report.median_error == pytest.approx(0.055)
    assert report.largest_error == pytest.approx(0.2)
    assert report.beyond_tenth == pytest.approx(0.25)
    assert report.rms_error == pytest.approx(np.sqrt((0.01 + 0.0001 + 0.04) / 4))
    assert report.sharpness == pytest.approx((0.05 + 0.02 + 0.1 + 0.05) / 4)
    # distances are 2, 0.5, 2 and 0 standard deviations; the 40 % interval reaches 0.524 of them, the 95 % one 1.96
    assert report.coverage[LEVELS.searchsorted(0.4)] == 0.5
    assert report.coverage[-1] == 0.5


def test_errors_drawn_as_they_say_are_calibrated():
    rng = np.random.default_rng(0)
    truth, std = rng.uniform(50, 100, 20_000), rng.uniform(1, 5, 20_000)
    report = calibration_report(truth, truth + std * rng.standard_normal(20_000), std)
    assert report.miscalibration < 0.02
    assert report.miscalibration_area < 0.02


def test_a_spread_far_too_narrow_is_seen_in_full():
    truth = np.arange(1.0, 101.0)
    report = calibration_report(truth, truth + 1, np.full(100, 1e-9))
    assert report.miscalibration == pytest.approx(LEVELS.mean())
    assert report.miscalibration_area == pytest.approx(0.475, abs=0.03)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(seed=st.integers(0, 1000), factor=st.floats(0.01, 100))
def test_conformal_scaling_covers_whatever_the_spread_was(seed, factor):
    rng = np.random.default_rng(seed)
    std = rng.uniform(1, 2, 400)
    error = std * rng.standard_t(3, 400)
    held, rest = slice(0, 200), slice(200, 400)
    scale = conformal_scale(error[held], np.zeros(200), factor * std[held], level=0.9)
    covered = coverage(error[rest], np.zeros(200), scale * factor * std[rest], [0.9])[0]
    assert 0.8 <= covered <= 0.98


def test_an_exact_answer_lies_in_every_interval_even_without_spread():
    assert coverage([1.0, 2.0], [1.0, 3.0], [0.0, 0.0]).tolist() == [0.5] * 19


def test_what_has_no_relative_error_or_too_few_rows_is_refused():
    with pytest.raises(ValueError, match="true value of 0"):
        relative_error([0.0], [1.0])
    with pytest.raises(ValueError, match="at least 0"):
        coverage([1.0], [1.0], [-1.0])
    with pytest.raises(ValueError, match="needs at least 19 held-out rows, got 18"):
        conformal_scale(np.ones(18), np.zeros(18), np.ones(18), level=0.95)
    assert conformal_scale(np.ones(19), np.zeros(19), np.ones(19), level=0.95) > 0
