import numpy as np
import pytest

from tameshi.specimens.chf import best_error, in_si, make_chf
from tameshi.specimens.table import Table
from tameshi.tabular.calibration import relative_error
from tameshi.tabular.chf import COLUMNS, FORMULAS, within


def test_the_generator_draws_what_its_docstring_says():
    X, y = make_chf(3000, seed=0)
    assert X.shape == (3000, 5)
    assert 1300 < np.median(y) < 1950
    assert y.min() >= 50
    assert within("biasi", X).all()
    assert within("bowring", X).all()
    errors = {
        name: relative_error(y, formula(**dict(zip(COLUMNS.values(), X.T, strict=True)))).mean()
        for name, formula in FORMULAS.items()
    }
    assert errors["biasi"] == pytest.approx(0.134, abs=0.01)
    assert errors["bowring"] == pytest.approx(0.076, abs=0.006)
    same, _ = make_chf(3000, seed=0)
    assert np.array_equal(X, same)
    assert not np.array_equal(X, make_chf(3000, seed=1)[0])


def test_the_best_error_is_that_of_the_truth():
    X, noisy = make_chf(3000, seed=0, noise=0.03)
    _, clean = make_chf(3000, seed=0, noise=0.0)
    both = np.abs(noisy / clean - 1) < 0.2  # the same points were drawn but for those near the lowest heat flux
    assert both.mean() > 0.99
    assert relative_error(noisy[both], clean[both]).mean() == pytest.approx(best_error(0.03), rel=0.05)
    assert X.shape[1] == 5


@pytest.fixture
def own(tmp_path):
    """A table of the user's own: other names, other units, no line that says them."""
    X, y = make_chf(30, seed=1)
    lines = [
        "bore,L,P,G,dh,q",
        *(",".join(map(repr, row)) for row in (np.c_[X, y] * [1e3, 1, 1e-6, 1, 1e-3, 1]).tolist()),
    ]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return Table.open(str(path)), X, y


NAMES = {"D": "bore", "chf": "q"}
UNITS = {"D": "mm", "L": "m", "P": "MPa", "G": "kg/m2s", "dh": "kJ/kg", "chf": "kW/m2"}


def test_units_are_asked_for_and_converted(own):
    table, X, y = own
    rows, flux = in_si(table, columns=NAMES, units=UNITS)
    np.testing.assert_allclose(rows, X, rtol=1e-12)
    np.testing.assert_allclose(flux, y)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"P": None}, "say the unit of column 'P': --units P=UNIT, one of Pa, kPa, MPa, bar"),
        ({"P": "psi"}, "the unit of P must be one of Pa, kPa, MPa, bar, got 'psi'"),
        ({"D": "m"}, "read as m, column D looks a thousand times too large for m"),
        ({"P": "kPa"}, "read as kPa, column P looks a thousand times too small for Pa"),
        ({"x": "1"}, "there is no 'x'"),
    ],
)
def test_a_wrong_unit_is_named(own, changes, says):
    table, _, _ = own
    units = {letter: unit for letter, unit in {**UNITS, **changes}.items() if unit is not None}
    with pytest.raises(ValueError, match=says):
        in_si(table, columns=NAMES, units=units)


def test_a_column_that_is_not_there_or_not_positive_is_named(own, tmp_path):
    table, _, _ = own
    with pytest.raises(ValueError, match="has no column 'D'"):
        in_si(table, units=UNITS)
    path = tmp_path / "bad.csv"
    path.write_text("D,L,P,G,dh,chf\n8,1,7,0,200,900\n8,1,7,1000,200,900\n", encoding="utf-8")
    with pytest.raises(ValueError, match="column 'G' must be positive, but data row 1 is not"):
        in_si(Table.open(str(path)), units=UNITS)
