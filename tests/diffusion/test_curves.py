import numpy as np
import pytest

from tameshi.diffusion import sliced_wasserstein
from tameshi.diffusion.curves import crossing, needed, slope

COUNTS = [8, 16, 32, 64]


def test_a_line_in_logarithms_is_read_back():
    errors = [2.0 * n**-1.5 for n in COUNTS]
    assert slope(COUNTS, errors) == pytest.approx(-1.5)
    assert needed(COUNTS, errors, 0.01) == pytest.approx(200 ** (2 / 3))
    assert needed(COUNTS, errors, 1e-4) == pytest.approx(20000 ** (2 / 3))
    with pytest.raises(ValueError, match="below 1 at 8 evaluations already"):
        needed(COUNTS, errors, 1.0)
    with pytest.raises(ValueError, match=r"does not come down to 0\.1"):
        needed(COUNTS, [0.5, 0.5, 0.5, 0.6], 0.1)


def test_where_two_lines_cross_is_found():
    ours, theirs = [16 * n**-2.0 for n in COUNTS], [0.8 / n for n in COUNTS]
    assert crossing(COUNTS, ours, theirs) == pytest.approx(20)
    with pytest.raises(ValueError, match="still worse at 64"):
        crossing(COUNTS, theirs, ours)
    with pytest.raises(ValueError, match="better at 8 evaluations already"):
        crossing(COUNTS, [1, 1, 1, 1], [2, 2, 2, 2])


def test_sliced_distance_of_equal_and_shifted_clouds():
    cloud = np.random.default_rng(0).normal(size=(200, 3))
    assert sliced_wasserstein(cloud, cloud[::-1]) == 0
    line = np.random.default_rng(0).normal(size=(200, 1))
    assert sliced_wasserstein(line, line + 0.7) == pytest.approx(0.7)
    with pytest.raises(ValueError, match="the same shape"):
        sliced_wasserstein(cloud, line)
