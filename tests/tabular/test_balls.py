import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.tabular.balls import GranularBalls, nearest, sum_up, target_bins
from tameshi.tabular.splitting import grow_balls


def table(rows: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns))
    return X, np.sin(X[:, 0]) + 0.1 * rng.normal(size=rows)


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == ball).tolist()) for ball in np.unique(labels)}


def one_by_one(X, bins, *, purity, min_size):
    """The generator as a stack of single splits, written from the paper's description."""
    made, stack = [], [np.arange(len(X))]
    while stack:
        rows = stack.pop()
        share = np.bincount(bins[rows]).max() / len(rows)
        points = X[rows]
        first = points[np.square(points - points.mean(axis=0)).sum(axis=1).argmax()]
        second = points[np.square(points - first).sum(axis=1).argmax()]
        if share >= purity or len(rows) < 2 * min_size or np.array_equal(first, second):
            made.append(frozenset(rows.tolist()))
            continue
        side = None
        for _ in range(20):
            new = np.square(points - second).sum(axis=1) < np.square(points - first).sum(axis=1)
            if side is not None and np.array_equal(new, side):
                break
            side = new
            first, second = points[~side].mean(axis=0), points[side].mean(axis=0)
        stack += [rows[side], rows[~side]]
    return set(made)


def test_two_clusters_with_different_targets_become_two_balls():
    X = np.array([[0.0], [1.0], [10.0], [11.0], [12.0]])
    y = np.array([1.0, 2.0, 7.0, 8.0, 90.0])
    balls = GranularBalls(n_bins=2, purity=0.8, min_size=1).fit(X, y)
    assert balls.labels_.tolist() == [0, 0, 1, 1, 1]
    assert balls.centers_.ravel().tolist() == [0.5, 11.0]
    assert balls.radii_ == pytest.approx([0.5, 2 / 3])
    assert balls.targets_.tolist() == [1.5, 8.0], "the median of a ball does not see the outlier"
    assert balls.counts_.tolist() == [2, 3]


@pytest.mark.parametrize("seed", range(4))
def test_splitting_a_generation_at_once_equals_splitting_one_by_one(seed):
    X, y = table(400, 3, seed)
    bins = target_bins(y, 8, np.ones(400))
    labels = grow_balls(X, bins, np.ones(400), purity=0.9, min_size=3)
    assert partition(labels) == one_by_one(X - X.mean(axis=0), bins, purity=0.9, min_size=3)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    rows=st.integers(2, 60),
    columns=st.integers(1, 4),
    bins=st.integers(1, 12),
    min_size=st.integers(1, 8),
    purity=st.floats(0.05, 1.0),
    seed=st.integers(0, 1000),
)
def test_balls_partition_the_rows_and_are_pure_or_small(rows, columns, bins, min_size, purity, seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 5, size=(rows, columns)).astype(float)  # many rows on one point
    y = rng.normal(size=rows)
    weight = np.ones(rows)
    label = target_bins(y, bins, weight)
    labels = grow_balls(X, label, weight, purity=purity, min_size=min_size)
    mean = sum_up(X, y, weight, label, labels, radius="mean")
    largest = sum_up(X, y, weight, label, labels, radius="max")
    assert sorted(np.unique(labels)) == list(range(len(mean.counts)))
    assert mean.counts.sum() == rows
    assert np.all(mean.radii <= largest.radii + 1e-12)
    one_point = largest.radii < 1e-12
    assert np.all((mean.purity >= purity) | (mean.counts < 2 * min_size) | one_point)


def test_the_order_of_the_rows_does_not_matter():
    X, y = table(500, 4)
    turn = np.random.default_rng(1).permutation(500)
    there = GranularBalls().fit(X, y).labels_
    shuffled = GranularBalls().fit(X[turn], y[turn]).labels_
    back = np.empty(500, dtype=int)
    back[turn] = shuffled
    assert partition(there) == partition(back)


def test_far_from_the_origin_the_balls_are_the_same():
    X, y = table(300, 3)
    assert partition(GranularBalls().fit(X, y).labels_) == partition(GranularBalls().fit(X + 2.0**24, y).labels_)


def test_a_row_of_weight_two_counts_as_two_rows():
    X, y = table(60, 2)
    weight = np.random.default_rng(0).integers(0, 3, size=60).astype(float)
    repeated = np.repeat(np.arange(60), weight.astype(int))
    weighted, plain = GranularBalls().fit(X, y, weight), GranularBalls().fit(X[repeated], y[repeated])
    assert np.array_equal(weighted.labels_[repeated], plain.labels_)
    np.testing.assert_allclose(weighted.centers_, plain.centers_)
    np.testing.assert_allclose(weighted.radii_, plain.radii_)
    np.testing.assert_allclose(weighted.targets_, plain.targets_)


def test_equal_rows_with_different_targets_stay_one_ball():
    balls = GranularBalls(purity=1.0, min_size=1).fit(np.ones((6, 2)), np.arange(6.0))
    assert balls.counts_.tolist() == [6]
    assert balls.radii_.tolist() == [0.0]


def test_rows_that_differ_in_their_last_digit_stay_one_ball():
    """So near each other that the plane between the two seeds rounds to one side of both."""
    for place in np.linspace(500, 1000, 40):
        near = np.r_[np.full(6, place), np.nextafter(np.full(6, place), np.inf)]
        X = np.c_[np.r_[np.full(12, -place), near], np.full(24, 7.7)]
        labels = grow_balls(X, np.arange(24) % 2, np.ones(24), purity=1.0, min_size=1)
        assert set(labels[:12]).isdisjoint(labels[12:])
        assert np.bincount(labels).min() > 0


def test_enforced_sizes_refuse_the_split_that_leaves_a_single_row():
    X = np.array([[0.0], [0.1], [0.2], [0.3], [9.0]])
    y = np.arange(5.0)
    assert GranularBalls(n_bins=2, purity=1.0, min_size=2).fit(X, y).counts_.min() == 1
    assert GranularBalls(n_bins=2, purity=1.0, min_size=2, enforce_min=True).fit(X, y).counts_.tolist() == [5]


def test_transform_names_the_nearest_ball():
    X, y = table(200, 2)
    balls = GranularBalls().fit(X, y)
    distance = np.square(X[:, None] - balls.centers_).sum(axis=2)
    assert np.array_equal(balls.transform(X)[:, 0], distance.argmin(axis=1))
    assert np.array_equal(nearest(balls.centers_, balls.centers_), np.arange(len(balls.centers_)))


def test_a_constant_target_is_one_ball_and_a_warning():
    with pytest.warns(UserWarning, match="one bin"):
        balls = GranularBalls().fit(np.arange(20.0)[:, None], np.full(20, 3.0))
    assert balls.targets_.tolist() == [3.0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n_bins": 0}, "n_bins must be at least 1, got 0"),
        ({"purity": 0.0}, r"purity must lie in \(0, 1\], got 0.0"),
        ({"purity": 1.1}, r"purity must lie in \(0, 1\], got 1.1"),
        ({"min_size": 0}, "min_size must be at least 1 row, got 0"),
        ({"radius": "median"}, "radius must be 'mean' or 'max'"),
        ({"agg": "mode"}, "agg must be 'median' or 'mean'"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        GranularBalls(**wrong).fit(*table(10, 2))


def test_weights_that_cannot_be_counted_are_refused():
    X, y = table(10, 2)
    with pytest.raises(ValueError, match="must not be negative"):
        GranularBalls().fit(X, y, np.r_[-1.0, np.ones(9)])
    with pytest.raises(ValueError, match="at least one non-zero"):
        GranularBalls().fit(X, y, np.zeros(10))
