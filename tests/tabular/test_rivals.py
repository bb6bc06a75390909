import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.svm import SVR, NuSVR

from tameshi.tabular.rivals import CentroidSVR, SubsetSVR, TwinSVR, _box_program, multi_granularity_svr, rivals


def wave(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(rows, 2))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + 0.05 * rng.normal(size=rows)


def test_a_subset_of_all_rows_is_plain_svr():
    X, y = wave()
    all_rows = SubsetSVR(200, gamma=1.0, tol=1e-8, random_state=0).fit(X, y)
    np.testing.assert_allclose(all_rows.predict(X), SVR(gamma=1.0, tol=1e-8).fit(X, y).predict(X), atol=1e-6)


def test_a_subset_keeps_as_many_rows_as_it_is_asked_to():
    X, y = wave()
    few = SubsetSVR(20, epsilon=0.0, C=1e4, gamma=50.0, random_state=0).fit(X, y)
    assert few.svr_.shape_fit_ == (20, 2)


def test_centroids_carry_the_median_target_and_the_number_of_their_rows():
    X, y = wave()
    found = CentroidSVR(5, C=2.0, gamma=1.0, tol=1e-8, random_state=3).fit(X, y)
    means = KMeans(5, n_init=1, random_state=np.random.RandomState(3)).fit(X)
    medians = [np.median(y[means.labels_ == k]) for k in range(5)]
    plain = SVR(C=2.0, gamma=1.0, tol=1e-8)
    plain.fit(means.cluster_centers_, medians, sample_weight=np.bincount(means.labels_))
    np.testing.assert_allclose(found.predict(X), plain.predict(X), atol=1e-6)


def test_the_box_program_stops_at_the_walls():
    # min a'a/2 - (3, 0.5, -1)'a over [0, 1]^3 -> (1, 0.5, 0)
    assert _box_program(np.eye(3), np.array([-3.0, -0.5, 1.0]), 1.0) == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_twin_bounds_meet_around_the_target():
    X, y = wave()
    model = TwinSVR(C=1.0, epsilon=0.1).fit(X, y)
    assert model.score(X, y) > 0.98
    moved = TwinSVR(C=1.0, epsilon=0.1).fit(X, -y)
    np.testing.assert_allclose(moved.predict(X), -model.predict(X), atol=1e-3)  # mirror image


def test_every_rival_learns_the_same_wave():
    X, y = wave()
    scores = {
        name: model.fit(X, y).score(X, y)
        for name, model in rivals(gamma=0.5, C=10, epsilon=0.1, balls=60, seed=0).items()
    }
    names = {"svr", "nu-svr", "random-subset", "random-double", "k-means", "twin-svr", "kernel-ridge"}
    assert set(scores) == {*names, "nystroem", "multi-granularity", "huber"}
    assert all(scores[name] > 0.85 for name in {*names, "nystroem"}), scores
    assert 0.2 < scores["huber"] < 0.9, "a line cannot follow the wave"


def test_the_predecessor_is_nu_regression_on_whole_balls_with_equal_costs():
    X, y = wave(60)
    points = multi_granularity_svr(purity=1.0, min_size=1, n_bins=60, gamma=1.0, standardize=False).fit(X, y)
    np.testing.assert_allclose(points.predict(X), NuSVR(gamma=1.0, tol=1e-8).fit(X, y).predict(X), atol=1e-3)
    balls = multi_granularity_svr(kernel="linear", C=10, standardize=False).fit(X, y)
    members = [np.flatnonzero(balls.labels_ == ball) for ball in range(len(balls.counts_))]
    np.testing.assert_allclose(balls.targets_, [y[rows].mean() for rows in members])
    reach = [np.linalg.norm(X[rows] - balls.centers_[ball], axis=1).mean() for ball, rows in enumerate(members)]
    np.testing.assert_allclose(balls.radii_, reach)

    def primal(w, b, epsilon):
        off, reach = balls.targets_ - balls.centers_ @ w - b, balls.radii_ * np.linalg.norm(w) - epsilon
        outside = (np.maximum(off + reach, 0) + np.maximum(reach - off, 0)).sum()  # no ball costs more than another
        return w @ w / 2 + 10 * (outside + 0.5 * len(off) * epsilon)

    w, b = balls.dual_coef_ @ balls.centers_, balls.intercept_
    widths = np.linspace(0, 3, 600)
    here = min(primal(w, b, epsilon) for epsilon in widths)
    rng = np.random.default_rng(0)
    near = [(w + 1e-2 * rng.normal(size=2), b + 1e-2 * rng.normal()) for _ in range(50)]
    assert here <= min(primal(*other, epsilon) for other in near for epsilon in widths) + 1e-2 * here


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (SubsetSVR(rows=0), "rows must be at least 1, got 0"),
        (CentroidSVR(clusters=0), "clusters must be at least 1, got 0"),
        (TwinSVR(C=0), "C and ridge must be positive"),
    ],
)
def test_a_setting_out_of_range_is_refused(model, says):
    with pytest.raises(ValueError, match=says):
        model.fit(*wave(10))
