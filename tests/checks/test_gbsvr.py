"""The check of GBSVR can fail: with broken balls or a broken tube its claims read so."""

import numpy as np
import pandas
import pytest

from tameshi.bench import run_check
from tameshi.checks import gbsvr
from tameshi.tabular import balls as ball_module
from tameshi.tabular.gbsvr import GBSVR


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Two settings in place of nine, and only the methods that the rules read."""
    monkeypatch.setattr(gbsvr, "GRID", [(1.0, 1.0), (10.0, 1.0)])
    monkeypatch.setattr(gbsvr, "BALLS", {"gbsvr": {}})
    monkeypatch.setattr(gbsvr, "RIVALS", ("svr", "constant"))
    monkeypatch.setattr(gbsvr, "LARGEST", 300)


def run(**options):
    result = run_check("gbsvr", seeds=1, **options)
    assert not result.errors
    return result


def test_a_model_that_knows_nothing_is_not_as_accurate(monkeypatch):
    monkeypatch.setattr(GBSVR, "predict", lambda self, X: np.full(len(X), self.intercept_))
    assert run(only="accuracy").verdicts["C1"].outcome == "fails"


def test_a_perfect_model_would_hold(monkeypatch):
    """The other way round: the claims are not out of reach of a method that is as good as SVR with clean targets."""
    from sklearn.svm import SVR

    def cheat(name, X, y, cost, width, seed):
        if name == "gbsvr":
            kept = np.abs(y - np.median(y)) < 2.2 * np.median(np.abs(y - np.median(y)))
            return SVR(C=cost, gamma=width / X.shape[1], epsilon=0.02).fit(X[kept], y[kept])
        return real(name, X, y, cost, width, seed)

    real = gbsvr.made
    monkeypatch.setattr(gbsvr, "made", cheat)
    found = run(only="accuracy", data=("specimen:friedman",)).verdicts
    assert found["C3"].parts[0].outcome == "holds"
    assert found["C3"].outcome == "holds"


def test_means_that_outliers_drag_lose_more(monkeypatch):
    """Sabotage of the aggregation: the largest target of a ball stands for it."""
    real = ball_module._medians

    def dragged(target, weight, starts):
        return np.maximum.reduceat(target, starts) + 0 * real(target, weight, starts)

    monkeypatch.setattr(ball_module, "_medians", dragged)
    found = run(only="accuracy", data=("specimen:friedman",)).verdicts
    assert found["C3"].outcome == "fails"
    assert found["C1"].outcome == "fails"


def test_balls_that_take_as_long_as_the_rows_are_not_cheaper(monkeypatch):
    real = GBSVR.fit

    def slow(self, X, y, sample_weight=None):
        for _ in range(40):
            real(self, X, y)
        return real(self, X, y, sample_weight)

    monkeypatch.setattr(GBSVR, "fit", slow)
    monkeypatch.setattr(gbsvr, "SIZES", (8,))
    result = run_check("gbsvr", only="cost", rows=(700,))
    assert result.verdicts["C2"].parts[0].outcome == "fails"
    assert result.verdicts["C2"].outcome == "fails"


def test_the_cost_is_blind_or_worse_where_a_random_subset_does_as_well():
    """At 4,000 rows balls lose more than 0.01 of R2; the control is measured and told whatever comes out."""
    result = run(only="cost", rows=(4000,))
    speed, accuracy = result.verdicts["C2"].parts
    assert speed.figure < 0.5
    assert set(accuracy.controls) == {"random-subset"}


def test_the_same_seed_gives_the_same_rows_but_for_the_clock():
    one, two = (run(only="accuracy", data=("specimen:diabetes",)) for _ in range(2))
    assert [row.values for row in one.rows] == [row.values for row in two.rows]


def test_every_figure_draws_from_rows_alone():
    rows = run(limit=100, rows=(500,)).rows
    for one in (gbsvr.r2_by_table, gbsvr.time_against_r2, gbsvr.balls_over_data):
        assert one.function(rows) is not None
        assert one.function(rows[:0]) is None


@pytest.fixture
def own(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    frame = pandas.DataFrame(X, columns=["a", "b", "c"]).assign(y=X[:, 0] + np.sin(X[:, 1]))
    path = tmp_path / "own.csv"
    path.write_text(frame.to_csv(index=False), encoding="utf-8")
    return path, frame


def test_a_table_of_ones_own_is_judged(own):
    result = run(only="accuracy", data=(str(own[0]),), target="y")
    assert len(result.verdicts["C1"].parts) == 2, "clean, and with 30 % outliers"
    assert result.verdicts["C1"].outcome in ("holds", "fails", "inconclusive")


def test_several_tables_of_ones_own_are_judged_together(own, tmp_path):
    path, frame = own
    other = tmp_path / "other.csv"
    other.write_text(frame.assign(y=2 * frame["y"] + frame["c"]).to_csv(index=False), encoding="utf-8")
    result = run(only="accuracy", data=(str(path), str(other)), target="y")
    assert len(result.verdicts["C1"].parts) == 4
    assert {row.conditions["of"] for row in result.rows.where(metric="r2_drop")} == {str(path), str(other)}
    assert result.verdicts["C3"].outcome != "inconclusive" or result.verdicts["C3"].parts[0].n > 100


def test_a_table_whose_target_is_not_said_is_refused_before_anything_is_fitted(own):
    for check, few in (("accuracy", {"limit": 3}), ("cost", {"rows": (3,)})):
        with pytest.raises(ValueError, match=r"name the target column of .*own\.csv; it has a, b, c, y"):
            run_check("gbsvr", only=check, data=(str(own[0]),))
        with pytest.raises(ValueError, match="at least 10 training rows are needed, got 3 of 200"):
            run_check("gbsvr", only=check, data=(str(own[0]),), target="y", **few)


def test_apply_fits_saves_and_predicts(own, tmp_path):
    path, frame = own
    told = gbsvr.fit.function(path, output=tmp_path / "model", target="y", cost=10.0)
    assert told["rows"] == 200
    assert 0 < told["balls"] < 200
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]
    new = tmp_path / "new.csv"
    new.write_text(frame[["c", "a", "b"]].to_csv(index=False), encoding="utf-8")  # another order of columns
    assert "200 predictions of y" in gbsvr.predict.function(tmp_path / "model", new, output=tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "y"
    model = GBSVR(C=10.0).fit(frame[["a", "b", "c"]].to_numpy(), frame["y"].to_numpy())
    np.testing.assert_allclose([float(line) for line in lines[1:]], model.predict(frame[["a", "b", "c"]].to_numpy()))


def test_a_column_that_is_not_there_is_refused_before_anything_is_written(own, tmp_path):
    with pytest.raises(ValueError, match="has no column 'z'; it has a, b, c, y"):
        gbsvr.fit.function(own[0], output=tmp_path / "model", target="z")
    assert not (tmp_path / "model").exists()
