"""A formula with a learned residual: predict truth - formula, and add the formula back.

Furlong et al. 2025, arXiv:2502.19357 ("trained on experimental - base model residuals"): a formula that is off by
some per cent leaves a network little to learn, and little to get wrong where there are few data. The pattern serves
any base.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tameshi.tabular.ensemble import DeepEnsembleRegressor

Floats = NDArray[np.float64]
Formula = Callable[[Floats], Floats]


class HybridRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Base formula plus learned residual, with the residual's standard deviation.

        HybridRegressor(lambda X: 3 * X[:, 0], DeepEnsembleRegressor()).fit(X, y).predict(X_new, return_std=True)

    Args:
        base: a function (rows, columns) -> (rows,); a regressor, which is cloned and fitted first; or None, the pure
            model.
        residual: a regressor for truth - base. One whose `predict` takes `return_std` gives standard deviations.
            None is a `DeepEnsembleRegressor`.
        relative: learn truth / base - 1 in its place, which weighs small values as much as large ones. The base must
            then be positive.

    Attributes:
        base_: the function, or the fitted regressor, or None. residual_: the fitted residual.

    Raises:
        ValueError: a base that gives values that are not finite, or with `relative` not positive.
    """

    def __init__(self, base: Any = None, residual: Any = None, relative: bool = False) -> None:
        self.base = base
        self.residual = residual
        self.relative = relative

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (rows, columns) and y (rows,)."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        self.base_ = self._base(X, y)
        formula = self._formula(X)
        left = y / formula - 1 if self.relative else y - formula
        self.residual_ = clone(DeepEnsembleRegressor() if self.residual is None else self.residual).fit(X, left)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """Predict for X (rows, columns): mean (rows,), and with `return_std` the standard deviation (rows,)."""
        X = self._rows(X)
        formula = self._formula(X)
        scale = formula if self.relative else np.ones(len(X))
        offset = formula
        if not return_std:
            return np.asarray(offset + scale * self.residual_.predict(X))
        mean, std = self.residual_.predict(X, return_std=True)
        return offset + scale * mean, np.abs(scale) * std

    def predict_base(self, X: Any) -> Floats:
        """What the base alone predicts, (rows,): the control that every hybrid is held against."""
        return self._formula(self._rows(X))

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> Floats:
        """Draws from the Gaussian of each prediction, (rows, n_samples), as `GaussianProcessRegressor.sample_y`."""
        mean, std = self.predict(X, return_std=True)
        noise = check_random_state(random_state).standard_normal((len(mean), n_samples))
        return np.asarray(mean[:, None] + std[:, None] * noise)

    def _rows(self, X: Any) -> Floats:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=np.float64, reset=False))

    def _base(self, X: Floats, y: Floats) -> Any:
        if self.base is None or (callable(self.base) and not hasattr(self.base, "fit")):
            return self.base
        if not hasattr(self.base, "fit"):
            raise ValueError(
                f"base must be a function of the rows, a regressor or None, got {self.base!r}; "
                "HybridCHFRegressor knows the correlations by name"
            )
        return clone(self.base).fit(X, y)

    def _formula(self, X: Floats) -> Floats:
        if self.base_ is None:
            if self.relative:
                raise ValueError("relative residuals need a base; with base=None there is nothing to divide by")
            return np.zeros(len(X))
        found = self.base_.predict(X) if hasattr(self.base_, "predict") else self.base_(X)
        found = np.asarray(found, dtype=np.float64)
        if found.shape != (len(X),):
            raise ValueError(f"the base must give one value a row, ({len(X)},), got the shape {found.shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"the base gave {int((~np.isfinite(found)).sum())} values that are not finite")
        if self.relative and not (found > 0).all():
            raise ValueError(
                f"relative residuals need a positive base, but {int((found <= 0).sum())} of {len(X)} values are not; "
                "use relative=False"
            )
        return found
