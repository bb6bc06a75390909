"""What every regressor of the wing owes, found by looking at the wing: a new one cannot be forgotten."""

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest
from sklearn.base import RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import check_estimator

import tameshi.tabular
from tameshi.tabular import balls, bayesian, chf, deep_gp, ensemble, gbsvr, hybrid, rivals

TINY = ensemble.DeepEnsembleRegressor(2, steps=150, hidden=(16,), learning_rate=1e-2)
CHECKED = {  # instance, how many of scikit-learn's checks it passes
    "GBSVR": (gbsvr.GBSVR(), 58),
    "GBSVR without radii": (gbsvr.GBSVR(radius_scale=0), 58),
    "GBSVR linear": (gbsvr.GBSVR(kernel="linear"), 58),
    "GBSVR poly": (gbsvr.GBSVR(kernel="poly", coef0=1), 58),
    "GranularBalls": (balls.GranularBalls(), 53),
    "SubsetSVR": (rivals.SubsetSVR(), 51),
    "CentroidSVR": (rivals.CentroidSVR(), 51),
    "TwinSVR": (rivals.TwinSVR(), 51),
    "DeepEnsembleRegressor": (TINY, 51),
    "BayesianMLPRegressor": (bayesian.BayesianMLPRegressor((8,), steps=200, learning_rate=2e-2, draws=20), 51),
    "DeepGPRegressor": (deep_gp.DeepGPRegressor(16, steps=60, learning_rate=5e-2, draws=3), 51),
    "HybridRegressor": (hybrid.HybridRegressor(LinearRegression(), TINY), 51),
    "HybridCHFRegressor pure": (chf.HybridCHFRegressor(None, TINY), 51),
}


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.filterwarnings("ignore")  # scikit-learn's checks provoke warnings on purpose
def test_scikit_learn_s_own_checks_pass(name):
    estimator, count = CHECKED[name]
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    left = {r["check_name"]: (r["status"], repr(r["exception"])) for r in results if r["status"] != "passed"}
    # the one check that needs SCIPY_ARRAY_API in the environment is for array libraries other than NumPy
    assert set(left) <= {"check_array_api_input"}, left
    assert sum(r["status"] == "passed" for r in results) == count


def modules():
    return [m.name for m in pkgutil.iter_modules(tameshi.tabular.__path__)]


def test_every_regressor_of_the_wing_is_checked():
    found = {
        name
        for module in modules()
        for name, held in vars(import_module(f"tameshi.tabular.{module}")).items()
        if inspect.isclass(held) and issubclass(held, RegressorMixin) and held.__module__.startswith("tameshi.")
    }
    assert found == {type(estimator).__name__ for estimator, _ in CHECKED.values()} - {"GranularBalls"}


def test_methods_alone_import_nothing_of_bench_checks_or_catalogue():
    every = ", ".join(f"tameshi.tabular.{module}" for module in modules())
    code = f"import sys, {every}; print(*[m for m in sys.modules if m.startswith('tameshi.')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {m.split(".")[1] for m in loaded} == {"tabular", "doors"}


def test_granular_balls_do_not_load_torch():
    code = "import sys; from tameshi.tabular import GBSVR, GranularBalls, biasi; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_all_public_names_are_there():
    for name in tameshi.tabular.__all__:
        assert getattr(tameshi.tabular, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = tameshi.tabular.Nothing
