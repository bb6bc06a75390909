"""The check of the hybrids can fail: with a broken base, network or spread its claims read so."""

import numpy as np
import pytest

from tameshi.bench import run_check
from tameshi.checks import chf_hybrid, gbsvr
from tameshi.specimens.chf import make_chf
from tameshi.tabular import bayesian, chf, deep_gp, ensemble
from tameshi.tabular.gbsvr import GBSVR
from tameshi.tabular.saved import save


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Fewer steps: the sabotage must be seen, not the best error."""
    for kind, steps in (
        (ensemble.DeepEnsembleRegressor, 150),
        (bayesian.BayesianMLPRegressor, 100),
        (deep_gp.DeepGPRegressor, 20),
    ):
        real = kind.fit
        monkeypatch.setattr(
            kind, "fit", lambda self, X, y, real=real, steps=steps: real(self.set_params(steps=steps), X, y)
        )


def run(**options):
    result = run_check("chf-hybrid", **{"seeds": 1, "limit": 300, "members": 2, **options})
    assert not result.errors
    return result


def test_a_base_that_is_turned_round_is_no_help(monkeypatch):
    """The correlation of another row: the hybrid learns noise, and is worse than the network alone."""

    def turned(**columns):
        return chf.bowring_inlet(**columns)[::-1]

    monkeypatch.setitem(chf.FORMULAS, "bowring", turned)
    monkeypatch.setitem(chf.FORMULAS, "biasi", turned)
    found = run(train=(9, 50, 150), points=150).verdicts
    assert found["C4"].outcome == "fails"
    assert found["C1"].outcome == "fails"


def test_a_spread_of_nothing_is_not_calibrated(monkeypatch):
    real = bayesian.BayesianMLPRegressor.predict

    def sure(self, X, return_std=False):
        found = real(self, X, return_std)
        return (found[0], found[1] * 1e-6) if return_std else found

    monkeypatch.setattr(bayesian.BayesianMLPRegressor, "predict", sure)
    found = run(only="prediction", points=200, seeds=4).verdicts["C2"]
    assert [part.outcome for part in found.parts[::2]] == ["fails", "fails"], "of the two about calibration"
    assert found.outcome == "fails"


def predicting_far_off(kind, monkeypatch):
    real = kind.predict

    def flat(self, X, return_std=False):
        mean, std = real(self, X, return_std=True)
        mean = np.full(len(mean), 5 * np.abs(mean).max())
        return (mean, std) if return_std else mean

    monkeypatch.setattr(kind, "predict", flat)


def test_a_bayesian_network_that_is_far_off_is_neither_near_the_ensemble_nor_ahead_of_deep_processes(monkeypatch):
    predicting_far_off(bayesian.BayesianMLPRegressor, monkeypatch)
    found = run(only="prediction", points=200).verdicts
    assert found["C2"].outcome == "fails"
    assert found["C3"].outcome == "fails"


def test_deep_processes_that_are_far_off_fall_behind(monkeypatch):
    """The other way round: the claim is not out of reach."""
    predicting_far_off(deep_gp.DeepGPRegressor, monkeypatch)
    assert run(only="prediction", points=200).verdicts["C3"].outcome == "holds"


def test_the_same_seed_gives_the_same_rows():
    one, two = (run(train=(30,), points=30) for _ in range(2))
    assert [row.values for row in one.rows] == [row.values for row in two.rows]


def test_every_figure_draws_from_rows_alone():
    rows = run(train=(9, 30), points=30).rows
    for one in (chf_hybrid.error_by_points, chf_hybrid.parity, chf_hybrid.calibration):
        assert one.function(rows) is not None
        assert one.function(rows[:0]) is None


def test_conformal_scaling_covers_what_the_ensemble_does_not():
    rows = run(only="prediction", points=200).rows
    bare, scaled = (rows.where(method=f"bowring-{kind}") for kind in ("ensemble", "ensemble-conformal"))
    assert bare.mean("coverage_95") < 0.8
    assert 0.9 < scaled.mean("coverage_95") <= 1
    assert scaled.mean("relative_error") == bare.mean("relative_error")


@pytest.fixture
def own(tmp_path):
    X, y = make_chf(500, seed=1)
    path = tmp_path / "own.csv"
    lines = [
        "bore,L,P,G,dh,chf",
        *(",".join(map(repr, r)) for r in (np.c_[X, y] * [1e3, 1, 1e-6, 1, 1e-3, 1]).tolist()),
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


UNITS = ("D=mm", "L=m", "P=MPa", "G=kg/m2s", "dh=kJ/kg", "chf=kW/m2")
COLUMNS = ("D=bore",)


def test_a_table_of_ones_own_asks_for_its_units(own):
    found = run(data=str(own), units=UNITS, columns=COLUMNS, train=(30,), points=30, limit=100)
    assert set(found.verdicts) == {"C1", "C2", "C3", "C4"}
    with pytest.raises(ValueError, match="say the unit of column 'bore'"):
        run_check("chf-hybrid", seeds=1, data=str(own), columns=COLUMNS, train=(30,), points=30)
    with pytest.raises(ValueError, match="3000 for training need at least 3320"):
        run_check("chf-hybrid", seeds=1, data=str(own), units=UNITS, columns=COLUMNS, train=(30,), points=3000)


def test_apply_fits_saves_and_predicts_with_marks(own, tmp_path):
    told = chf_hybrid.fit.function(
        own, output=tmp_path / "model", units=UNITS, columns=COLUMNS, members=2, residual="ensemble"
    )
    assert told["points"] == 500
    assert told["mean_relative_error_on_its_points"] < 0.2
    new = tmp_path / "new.csv"
    new.write_text("bore,L,P,G,dh\n8,1,7,2000,200\n8,1,7,30000,200\n8,1,7,2000,-20\n", encoding="utf-8")
    with pytest.raises(ValueError, match="1 of 3 rows lie outside the range of bowring"):
        chf_hybrid.predict.function(tmp_path / "model", new, output=tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    said = chf_hybrid.predict.function(tmp_path / "model", new, output=tmp_path / "out.csv", extrapolate=True)
    assert "3 predictions in kW/m2" in said
    assert "1 of them extrapolated; 2 have remarks" in said
    header, first, second, third = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert header == "chf,std,extrapolated,remarks"
    assert first.endswith(",false,")
    assert ",true,outside the range of bowring" in second
    assert third.endswith(",false,steam at the inlet")
    assert 500 < float(first.split(",")[0]) < 8000


def test_the_units_that_a_table_says_count_more_than_those_of_the_fit(own, tmp_path):
    options = {"units": UNITS, "columns": COLUMNS, "members": 2}
    chf_hybrid.fit.function(own, output=tmp_path / "model", **options)
    flux = []
    for name, text in (
        ("fit.csv", "bore,L,P,G,dh\n8,1,7,2000,200\n9,1,7,2000,200\n"),
        ("said.csv", "bore,L,P,G,dh\nm,m,kPa,kg/m2s,J/kg\n0.008,1,7000,2000,200000\n0.009,1,7000,2000,200000\n"),
        ("plain.csv", "D,L,P,G,dh\nmm,m,bar,kg/m2s,kJ/kg\n8,1,70,2000,200\n9,1,70,2000,200\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        chf_hybrid.predict.function(tmp_path / "model", tmp_path / name, output=tmp_path / "out.csv")
        flux.append(float((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[0]))
    assert flux == pytest.approx([flux[0]] * 3)


def test_a_model_of_another_kind_is_refused(own, tmp_path):
    X, y = make_chf(30, seed=0)
    save(GBSVR().fit(X, y), tmp_path / "balls")
    with pytest.raises(ValueError, match="holds a GBSVR, not a HybridCHFRegressor"):
        chf_hybrid.predict.function(tmp_path / "balls", own, output=tmp_path / "out.csv")
    with pytest.raises(ValueError, match="does not say its columns and its target"):
        gbsvr.predict.function(tmp_path / "balls", own, output=tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"only": "prediction", "points": 1}, "at least 2 training points, got 1"),
        ({"only": "scarcity", "train": (9, 0)}, "at least 2 training points, got 9, 0"),
        ({"only": "scarcity", "members": 1}, "one network has no spread, got 1"),
    ],
)
def test_numbers_that_nothing_can_be_learned_from_are_refused_before_anything_is_fitted(options, says):
    with pytest.raises(ValueError, match=says):
        run_check("chf-hybrid", seeds=1, **options)


def test_an_option_that_does_not_say_a_unit_is_refused():
    with pytest.raises(ValueError, match=r"--units takes D=.* got 'mm'"):
        chf_hybrid._pairs("units", ("mm",))
