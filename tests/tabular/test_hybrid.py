import warnings

import numpy as np
import pandas
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression

from tameshi.specimens.chf import make_chf
from tameshi.tabular.chf import COLUMNS, FORMULAS, HybridCHFRegressor, suspicious_unit, within
from tameshi.tabular.ensemble import DeepEnsembleRegressor
from tameshi.tabular.heat_flux import bowring_inlet, in_range, outlet_quality
from tameshi.tabular.hybrid import HybridRegressor

QUICK = DeepEnsembleRegressor(2, steps=30, hidden=(8,))


def line() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).uniform(1, 2, size=(60, 2))
    return X, 5 + 3 * X[:, 0] + X[:, 1] ** 2


def test_the_prediction_is_base_plus_residual():
    X, y = line()
    model = HybridRegressor(lambda rows: 3 * rows[:, 0], LinearRegression()).fit(X, y)
    alone = LinearRegression().fit(X, y - 3 * X[:, 0])
    np.testing.assert_allclose(model.predict(X), 3 * X[:, 0] + alone.predict(X))


def test_a_relative_residual_multiplies():
    X, y = line()
    model = HybridRegressor(lambda rows: 3 * rows[:, 0], GaussianProcessRegressor(), relative=True).fit(X, y)
    alone = GaussianProcessRegressor().fit(X, y / (3 * X[:, 0]) - 1)
    mean, std = model.predict(X[:9], return_std=True)
    ours, theirs = alone.predict(X[:9], return_std=True)
    np.testing.assert_allclose(mean, 3 * X[:9, 0] * (1 + ours))
    np.testing.assert_allclose(std, 3 * X[:9, 0] * theirs)


def test_a_regressor_as_the_base_is_cloned_and_fitted():
    X, y = line()
    base = LinearRegression()
    model = HybridRegressor(base, QUICK).fit(X, y)
    assert not hasattr(base, "coef_")
    np.testing.assert_allclose(model.predict_base(X), LinearRegression().fit(X, y).predict(X))


def test_draws_have_the_mean_and_spread_of_the_prediction():
    X, y = line()
    model = HybridRegressor(None, GaussianProcessRegressor(alpha=0.1)).fit(X, y)
    mean, std = model.predict(X[:3], return_std=True)
    drawn = model.sample_y(X[:3], 20_000)
    np.testing.assert_allclose(drawn.mean(axis=1), mean, atol=4 * std.max() / np.sqrt(20_000))
    np.testing.assert_allclose(drawn.std(axis=1), std, rtol=0.03)


def test_with_the_truth_as_its_base_nine_rows_reach_the_noise_floor():
    X, y = make_chf(500, seed=3, noise=0.0)

    def truth(rows):
        return np.array([known[tuple(row)] for row in rows])

    known = {tuple(row): value for row, value in zip(X, y, strict=True)}
    model = HybridRegressor(truth, QUICK).fit(X[:9], y[:9])
    np.testing.assert_allclose(model.predict(X), y, rtol=2e-3)


def far_from_every_limit(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Points whose predictions raise no doubt."""
    X, y = make_chf(10 * rows, seed=0)
    quality = outlet_quality(y, X[:, 2], X[:, 3], X[:, 0], X[:, 1], X[:, 4])
    middle = np.flatnonzero((quality > 0.4) & (quality < 0.6))[:rows]
    return X[middle], y[middle]


def test_a_frame_is_read_by_name_whatever_the_order():
    X, y = far_from_every_limit(60)
    frame = pandas.DataFrame(X, columns=list(COLUMNS)).assign(rig="a")
    model = HybridCHFRegressor("bowring", QUICK).fit(frame[["rig", "dh", "G", "P", "L", "D"]], y)
    by_place = HybridCHFRegressor("bowring", QUICK).fit(X, y)
    np.testing.assert_allclose(model.predict(frame), by_place.predict(X))
    np.testing.assert_allclose(model.predict_base(frame), bowring_inlet(X[:, 2], X[:, 3], X[:, 0], X[:, 1], X[:, 4]))


@pytest.mark.parametrize("base", ["biasi", "bowring"])
def test_rows_out_of_range_are_predicted_only_when_asked_and_marked(base):
    X, y = far_from_every_limit(60)
    beyond = X[:3].copy()
    beyond[1, 3] = 30_000.0  # mass flux past both ranges
    model = HybridCHFRegressor(base, DummyRegressor(strategy="constant", constant=0.0)).fit(X, y)
    with pytest.raises(ValueError, match=r"1 of 3 rows lie outside the range of \w+ \(G must lie in .* and is 30000\)"):
        model.predict(beyond)
    model.set_params(extrapolate=True)
    with pytest.warns(UserWarning, match="1 of 3 rows .* are extrapolated"):
        found = model.predict(beyond)
    assert np.isfinite(found).all()
    assert model.extrapolates(beyond).tolist() == [False, True, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(X)


def test_what_cannot_be_or_has_to_be_known_is_remarked():
    X = np.array(
        [
            [0.010, 2, 7e6, 2000, 200e3],
            [0.010, 2, 5e6, 200, 100e3],  # Bowring: quality 1.557 at the outlet
            [0.008, 0.5, 7e6, 4000, 400e3],  # leaves below saturation
            [0.010, 2, 7e6, 2000, -20e3],
            [0.010, 5, 7e6, 2000, 200e3],
        ]
    )
    flux = bowring_inlet(X[:, 2], X[:, 3], X[:, 0], X[:, 1], X[:, 4])
    model = HybridCHFRegressor("bowring", QUICK)
    assert model.remarks(X, flux) == [
        "",
        "an outlet quality above 1",
        "an outlet quality below the range",
        "steam at the inlet",
        "outside the range of bowring",
    ]
    assert model.remarks(X[:1], [-133.0]) == ["no positive heat flux; an outlet quality below the range"]
    assert HybridCHFRegressor(None, QUICK).remarks(X, flux) == [""] * 5
    train, _ = make_chf(60, seed=0)
    with pytest.warns(UserWarning, match="of 2 predictions 1 have an outlet quality above 1"):
        model.fit(train, bowring_inlet(train[:, 2], train[:, 3], train[:, 0], train[:, 1], train[:, 4])).predict(X[:2])


def test_biasi_s_range_has_a_quality_once_the_flux_is_measured():
    X, y = make_chf(2000, seed=0)
    assert within("biasi", X).all()
    quality = outlet_quality(y, X[:, 2], X[:, 3], X[:, 0], X[:, 1], X[:, 4])
    assert np.array_equal(within("biasi", X, y), in_range("biasi", pressure=X[:, 2], quality=quality))
    assert within("bowring", X, y).all()


@pytest.mark.parametrize(
    ("place", "factor", "says"),
    [
        (0, 1e3, "column D looks a thousand times too large for m"),
        (1, 1e3, "column L looks a thousand times too large for m"),
        (2, 1e-3, "column P looks a thousand times too small for Pa"),
        (2, 1e-6, "column P looks a million times too small for Pa"),
    ],
)
def test_a_column_in_another_unit_is_named(place, factor, says):
    X, y = make_chf(40, seed=0)
    X[:, place] *= factor
    with pytest.raises(ValueError, match=says):
        HybridCHFRegressor("biasi", QUICK).fit(X, y)


def test_subcooling_in_kilojoule_is_suspicious_and_steam_at_the_inlet_is_not():
    assert "a thousand times too small" in suspicious_unit("dh", np.array([300.0, 400.0]))
    assert suspicious_unit("dh", np.array([-300e3, -400e3])) is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda X, y: HybridCHFRegressor("katto", QUICK).fit(X, y), "base must be one of biasi, bowring or None"),
        (lambda X, y: HybridCHFRegressor("biasi", QUICK).fit(X[:, :4], y), r"\(5 columns\), got 4"),
        (lambda X, y: HybridCHFRegressor("biasi", QUICK).fit(X, -y), "must be positive, in kW/m2"),
        (lambda X, y: HybridCHFRegressor("biasi", QUICK).fit(_frame(X).drop(columns="P"), y), "P is missing"),
        (lambda X, y: HybridRegressor(lambda r: r[:, 0] - 9, QUICK, relative=True).fit(X, y), "need a positive base"),
        (lambda X, y: HybridRegressor("bowring", QUICK).fit(X, y), "HybridCHFRegressor knows the correlations by name"),
        (lambda X, y: HybridRegressor(None, QUICK, relative=True).fit(X, y), "need a base"),
        (lambda X, y: HybridRegressor(lambda r: r, QUICK).fit(X, y), "one value a row"),
        (lambda X, y: HybridRegressor(lambda r: r[:, 0] * np.nan, QUICK).fit(X, y), "not finite"),
    ],
)
def test_what_has_no_answer_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call(*make_chf(20, seed=0))


def _frame(X):
    return pandas.DataFrame(X, columns=list(COLUMNS))


def test_every_formula_takes_the_columns_by_name():
    X, _ = make_chf(5, seed=0)
    for formula in FORMULAS.values():
        found = formula(**dict(zip(COLUMNS.values(), X.T, strict=True)))
        assert np.all(found > 50)
