import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, NuSVR

from tameshi.tabular.gbsvr import GBSVR


def wave(rows: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-3, 3, size=(rows, 2))
    return X, np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=rows)


@pytest.mark.parametrize("radius_scale", [0.0, 1.0])
def test_when_every_ball_is_a_point_it_is_support_vector_regression(radius_scale):
    X, y = wave(80)
    model = GBSVR(gamma=0.5, C=5, epsilon=0.05, n_bins=200, purity=1.0, min_size=1, radius_scale=radius_scale, tol=1e-9)
    model.fit(X, y)
    assert len(model.centers_) == 80
    rows = StandardScaler().fit_transform(X)
    svr = SVR(gamma=0.5, C=5, epsilon=0.05, tol=1e-9).fit(rows, y)
    np.testing.assert_allclose(model.predict(X), svr.predict(rows), atol=2e-6)


@pytest.mark.parametrize("radius_scale", [0.0, 1e-12])
def test_with_nu_the_width_of_the_tube_is_found(radius_scale):
    X, y = wave(80)
    model = GBSVR(gamma=0.5, C=5, nu=0.3, epsilon=9.0, n_bins=200, purity=1.0, min_size=1, tol=1e-9)
    model.set_params(radius_scale=radius_scale).fit(X, y)
    rows = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(
        model.predict(X), NuSVR(gamma=0.5, C=5, nu=0.3, tol=1e-9).fit(rows, y).predict(rows), atol=5e-6
    )


def test_enforced_sizes_leave_no_small_ball():
    X, y = wave()
    assert GBSVR(min_size=8).fit(X, y).counts_.min() < 8
    assert GBSVR(min_size=8, enforce_min=True).fit(X, y).counts_.min() >= 8


def test_the_default_solves_the_tube_to_a_hundred_thousandth():
    for rows in (60, 300, 600):
        assert 0 <= GBSVR().fit(*wave(rows)).dual_gap_ < 1e-5


def test_the_paths_with_and_without_radii_meet_at_zero():
    X, y = wave()
    near = GBSVR(radius_scale=1e-12, tol=1e-9).fit(X, y)
    zero = GBSVR(radius_scale=0, tol=1e-9).fit(X, y)
    np.testing.assert_allclose(near.predict(X), zero.predict(X), atol=1e-5)
    assert near.w_norm_ == pytest.approx(zero.w_norm_, rel=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly"])
def test_moving_the_target_moves_the_prediction(kernel):
    X, y = wave()
    there, moved = GBSVR(kernel=kernel, coef0=1).fit(X, y), GBSVR(kernel=kernel, coef0=1).fit(X, y + 100)
    np.testing.assert_allclose(moved.predict(X), there.predict(X) + 100, atol=1e-4)


def test_turning_the_columns_leaves_rbf_predictions_alone():
    X, y = wave()
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    there = GBSVR(standardize=False, gamma=0.5).fit(X, y)
    turned = GBSVR(standardize=False, gamma=0.5).fit(X @ turn, y)
    np.testing.assert_allclose(turned.predict(X @ turn), there.predict(X), atol=1e-5)


def test_it_learns_a_wave_from_a_third_of_the_points():
    X, y = wave(600)
    model = GBSVR(C=10).fit(X, y)
    assert len(model.centers_) < 250
    Xt, _ = wave(1000, seed=1)
    truth = np.sin(Xt[:, 0]) + 0.5 * Xt[:, 1]
    assert 1 - np.square(model.predict(Xt) - truth).mean() / truth.var() > 0.97


def test_the_paper_s_own_radii_collapse_on_diabetes_and_it_is_said():
    X, y = load_diabetes(return_X_y=True)
    with pytest.warns(UserWarning, match="constant model; lower radius_scale"):
        model = GBSVR(radius_scale=1.0, C=0.1, epsilon=1.0).fit(X, y)
    assert model.w_norm_ < 1e-8
    assert np.ptp(model.predict(X)) < 1e-6


def test_medians_keep_what_outliers_would_take():
    X, y = wave(600)
    rng = np.random.default_rng(0)
    dirty = y + rng.choice([0, 8], size=600, p=[0.8, 0.2]) * y.std()
    median = GBSVR(agg="median", min_size=5, C=10).fit(X, dirty).score(X, y)
    mean = GBSVR(agg="mean", min_size=5, C=10).fit(X, dirty).score(X, y)
    assert median > mean + 0.02


def test_the_linear_kernel_knows_its_norm():
    X, y = wave()
    model = GBSVR(kernel="linear", radius_scale=0.1).fit(X, y)
    slope = model.dual_coef_ @ model.centers_
    assert np.linalg.norm(slope) == pytest.approx(model.w_norm_, rel=1e-6)


def test_radii_in_the_space_of_a_polynomial_kernel_are_distances_of_the_members():
    X, y = wave(60)
    for radius in ("mean", "max"):
        model = GBSVR(kernel="poly", degree=2, coef0=1, radius=radius, gamma=1.0).fit(X, y)
        rows = (X - model.mean_) / model.scale_

        def features(v):
            cross = np.einsum("ni,nj->nij", v, v).reshape(len(v), -1)
            return np.c_[np.ones(len(v)), np.sqrt(2) * v, cross]

        away = np.linalg.norm(features(rows) - features(model.centers_)[model.labels_], axis=1)
        summed = getattr(np, radius)
        expected = [summed(away[model.labels_ == ball]) for ball in range(len(model.centers_))]
        found = model._feature_radii(rows, np.ones(60), _balls_of(model))
        np.testing.assert_allclose(found, expected, atol=1e-9)


def _balls_of(model):
    from tameshi.tabular.balls import Balls

    return Balls(
        model.centers_, model.radii_, model.targets_, model.weights_, model.counts_, model.weights_, model.labels_
    )


def test_predictions_do_not_depend_on_how_many_rows_are_asked_at_once(monkeypatch):
    X, y = wave()
    model = GBSVR().fit(X, y)
    whole = model.predict(X)
    monkeypatch.setattr("tameshi.tabular.gbsvr.CHUNK", 500)
    np.testing.assert_allclose(model.predict(X), whole, rtol=1e-12)


def test_it_stands_in_a_pipeline():
    X, y = wave()
    model = make_pipeline(StandardScaler(), GBSVR(C=10)).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model[-1].centers_.shape[1] == 2


def test_a_constant_target_is_predicted_with_a_warning():
    with pytest.warns(UserWarning, match="one bin"):
        model = GBSVR().fit(np.arange(20.0)[:, None], np.full(20, 3.0))
    assert model.predict([[4.0], [400.0]]) == pytest.approx([3, 3])


def test_a_tube_that_is_not_solved_says_so():
    from sklearn.exceptions import ConvergenceWarning

    with pytest.warns(ConvergenceWarning, match="raise max_iter or tol"):
        GBSVR(max_iter=1).fit(*wave())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"C": 0.0}, "C must be positive, got 0.0"),
        ({"C": -1.0}, "C must be positive, got -1.0"),
        ({"epsilon": -0.1}, "epsilon must be at least 0, got -0.1"),
        ({"epsilon": float("nan")}, "epsilon must be at least 0, got nan"),
        ({"kernel": "sigmoid"}, "kernel must be one of rbf, linear, poly, got 'sigmoid'"),
        ({"nu": 1.0}, r"nu must lie in \(0, 1\), or be None, got 1.0"),
        ({"gamma": "large"}, "gamma must be 'scale', 'auto' or a positive number"),
        ({"gamma": 0.0}, "gamma must be 'scale', 'auto' or a positive number"),
        ({"radius_scale": 1.5}, r"radius_scale must lie in \[0, 1\], got 1.5"),
        ({"weight": "none"}, "weight must be 'size' or 'equal'"),
        ({"purity": 2.0}, "purity must lie in"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        GBSVR(**wrong).fit(*wave(20))


@pytest.mark.parametrize(
    ("X", "y", "says"),
    [
        ([[1.0], [np.nan]], [1.0, 2.0], "NaN"),
        ([[1.0], [np.inf]], [1.0, 2.0], "infinity"),
        ([[1.0], [2.0]], [1.0, np.nan], "NaN"),
        ([[1.0]], [1.0], "minimum of 2"),
        (np.empty((3, 0)), [1.0, 2.0, 3.0], r"0 feature\(s\)"),
    ],
)
def test_a_table_that_cannot_be_learned_from_is_refused(X, y, says):
    with pytest.raises(ValueError, match=says):
        GBSVR().fit(X, y)
