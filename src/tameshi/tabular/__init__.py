"""Regression on tables: granular balls in the place of rows, and formulas with a learned residual and an honest spread.

Every regressor is one of scikit-learn's. Names are imported when they are first asked for, so GBSVR does not load
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tameshi.tabular.balls import GranularBalls
    from tameshi.tabular.bayesian import BayesianMLPRegressor
    from tameshi.tabular.calibration import CalibrationReport, calibration_report, conformal_scale
    from tameshi.tabular.chf import HybridCHFRegressor
    from tameshi.tabular.deep_gp import DeepGPRegressor
    from tameshi.tabular.ensemble import DeepEnsembleRegressor
    from tameshi.tabular.gbsvr import GBSVR
    from tameshi.tabular.heat_flux import (
        biasi,
        biasi_heat_balance,
        bowring_inlet,
        bowring_local,
        in_range,
        outlet_quality,
    )
    from tameshi.tabular.hybrid import HybridRegressor
    from tameshi.tabular.lookup import GroeneveldTable
    from tameshi.tabular.rivals import CentroidSVR, SubsetSVR, TwinSVR, multi_granularity_svr
    from tameshi.tabular.saved import load, save
    from tameshi.tabular.steam import saturation

_PLACES = {
    "balls": ("GranularBalls",),
    "bayesian": ("BayesianMLPRegressor",),
    "calibration": ("CalibrationReport", "calibration_report", "conformal_scale"),
    "chf": ("HybridCHFRegressor",),
    "deep_gp": ("DeepGPRegressor",),
    "ensemble": ("DeepEnsembleRegressor",),
    "gbsvr": ("GBSVR",),
    "heat_flux": ("biasi", "biasi_heat_balance", "bowring_inlet", "bowring_local", "in_range", "outlet_quality"),
    "hybrid": ("HybridRegressor",),
    "lookup": ("GroeneveldTable",),
    "rivals": ("CentroidSVR", "SubsetSVR", "TwinSVR", "multi_granularity_svr"),
    "saved": ("load", "save"),
    "steam": ("saturation",),
}
_HOMES = {name: home for home, names in _PLACES.items() for name in names}

__all__ = [
    "GBSVR",
    "BayesianMLPRegressor",
    "CalibrationReport",
    "CentroidSVR",
    "DeepEnsembleRegressor",
    "DeepGPRegressor",
    "GranularBalls",
    "GroeneveldTable",
    "HybridCHFRegressor",
    "HybridRegressor",
    "SubsetSVR",
    "TwinSVR",
    "biasi",
    "biasi_heat_balance",
    "bowring_inlet",
    "bowring_local",
    "calibration_report",
    "conformal_scale",
    "in_range",
    "load",
    "multi_granularity_svr",
    "outlet_quality",
    "saturation",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tameshi"):
            raise
        raise ImportError("tameshi.tabular needs scikit-learn and torch: pip install 'tameshi[tabular]'") from error
