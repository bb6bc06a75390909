import json

import numpy as np
import pandas
import pytest

from tameshi.doors.files import NotWritten
from tameshi.specimens.chf import make_chf
from tameshi.tabular.balls import GranularBalls
from tameshi.tabular.bayesian import BayesianMLPRegressor
from tameshi.tabular.chf import COLUMNS, HybridCHFRegressor
from tameshi.tabular.deep_gp import DeepGPRegressor
from tameshi.tabular.ensemble import DeepEnsembleRegressor
from tameshi.tabular.gbsvr import GBSVR
from tameshi.tabular.hybrid import HybridRegressor
from tameshi.tabular.saved import CLASSES, load, save

X, y = make_chf(60, seed=0)
MODELS = [
    GBSVR(),
    GBSVR(radius_scale=0),
    DeepEnsembleRegressor(2, steps=5, hidden=(8,)),
    BayesianMLPRegressor(hidden=(8,), steps=5, draws=3),
    DeepGPRegressor(inducing=8, steps=5, draws=3),
    HybridRegressor(None, DeepEnsembleRegressor(2, steps=5)),
    HybridCHFRegressor("bowring", BayesianMLPRegressor(hidden=(8,), steps=5, draws=3)),
]


@pytest.mark.filterwarnings("ignore:of 60 predictions")  # five steps make a poor model
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_model_comes_back_as_it_was(model, tmp_path):
    frame = pandas.DataFrame(X, columns=list(COLUMNS))
    model.fit(frame, y)
    save(model, tmp_path / "model", about={"target": "chf"})
    back, about = load(tmp_path / "model")
    assert about == {"target": "chf"}
    assert type(back) is type(model)
    assert np.array_equal(back.predict(frame), model.predict(frame))
    assert list(back.feature_names_in_) == list(COLUMNS)
    if hasattr(model, "sample_y"):
        assert np.array_equal(back.predict(frame, return_std=True)[1], model.predict(frame, return_std=True)[1])


def test_balls_come_back_too(tmp_path):
    balls = GranularBalls().fit(X, y)
    save(balls, tmp_path / "balls")
    back, _ = load(tmp_path / "balls")
    assert np.array_equal(back.transform(X), balls.transform(X))


def test_every_class_that_can_be_saved_is_tried():
    assert {type(model).__name__ for model in MODELS} | {"GranularBalls"} == set(CLASSES)


def test_what_would_run_code_is_not_saved(tmp_path):
    model = HybridRegressor(lambda rows: rows[:, 0], DeepEnsembleRegressor(2, steps=2)).fit(X, y)
    with pytest.raises(ValueError, match="cannot be saved without running code"):
        save(model, tmp_path / "model")
    assert not list(tmp_path.glob("*model*")), "nothing is left behind"


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    model = GBSVR().fit(X, y)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(NotWritten, match="already holds something"):
        save(model, tmp_path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda told: told.update(format="pickle"), "does not say that it is"),
        (lambda told: told["model"].update({"class": "Pipeline"}), "must be one of GBSVR"),
        (lambda told: told["model"].pop("fitted"), "is not whole"),
        (lambda told: told["model"]["fitted"].update(predict=3), "ends with _"),
        (lambda told: told["model"]["fitted"]["centers_"].update(array="elsewhere"), "is not whole"),
    ],
)
def test_a_folder_that_was_changed_is_refused(damage, says, tmp_path):
    save(GBSVR().fit(X, y), tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    damage(told)
    file.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        load(tmp_path / "model")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a saved model"):
        load(tmp_path)
