"""GBSVR: support vector regression on granular balls in the place of rows.

Rastogi et al. 2025, arXiv:2503.10539. `balls.py` replaces n rows by far fewer balls; `tube.py` asks each whole ball
to lie in the epsilon tube; this file is the scikit-learn regressor that joins them.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.svm import SVR, NuSVR
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from tameshi.tabular.balls import Balls, make_balls
from tameshi.tabular.tube import half_gram, solve_tube

Floats = NDArray[np.float64]

KERNELS = ("rbf", "linear", "poly")
CONSTANT = 1e-8  # a norm of w below this is a constant model
CHUNK = 4_000_000  # kernel values held at once while predicting


class GBSVR(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Granular ball support vector regression.

        GBSVR(C=10).fit(X, y).predict(X_new)

    Memory of `fit` is three dense (balls, balls) matrices of float64 when `radius_scale` is positive; with 0 the
    balls go to libsvm. Time is O(rows x columns x log balls) for the balls and O(balls x rank^2) a step for the tube.

    Args:
        kernel: "rbf", "linear" or "poly".
        gamma: of the kernel; "scale" is 1 / (columns x variance of the standardised rows), "auto" is 1 / columns.
        C: cost of leaving the tube, for a ball of one row; positive.
        epsilon: half width of the tube, in the unit of the target; at least 0.
        nu: in (0, 1): find the half width in place of `epsilon`, so that the balls outside the tube hold at most this
            share of all costs, as in `sklearn.svm.NuSVR`. None keeps `epsilon`.
        n_bins: quantile bins of the target that a ball must agree on (our choice 10).
        purity: a ball is split while the share of its most frequent bin is below this; in (0, 1] (our choice 0.9).
        min_size: only balls with at least twice as many rows are split (our choice 3; 5 gives half as many balls).
        radius: "mean" (robust) or "max" distance of a ball's rows from its centre.
        radius_scale: what the radii are multiplied with, in [0, 1]. 1 is the paper; there an RBF kernel often
            collapses to a constant, so 0.05 is our choice. 0 is plain SVR on the centres.
        agg: target of a ball, "median" (our choice; it decides what outliers do) or "mean" of its rows.
        enforce_min: refuse a split that leaves fewer than `min_size` rows on a side.
        weight: "size" multiplies C with the rows of a ball (our choice, so that C means what it means in SVR);
            "equal" does not.
        standardize: subtract the mean and divide by the standard deviation of each column first.
        degree, coef0: of the "poly" kernel.
        tol: of the solver, relative duality gap.
        max_iter: Newton steps at most.
        random_state: takes no part; nothing here is random. It stands for tools that set it.

    Attributes:
        centers_: (balls, columns) of the standardised rows. radii_: (balls,) in that space, not scaled.
        targets_, weights_, counts_: (balls,). labels_: (rows,), the ball of each row.
        dual_coef_: (balls,), what the kernel with each centre is multiplied with. intercept_: number.
        w_norm_: norm of w in the feature space. dual_gap_: relative (NaN where libsvm solved). n_iter_: steps.
        mean_, scale_: (columns,), of the standardisation. gamma_: number.

    Raises:
        ValueError: a setting out of its range, or what scikit-learn refuses (NaN, one row, no columns).
    """

    def __init__(
        self,
        kernel: str = "rbf",
        gamma: str | float = "scale",
        C: float = 1.0,
        epsilon: float = 0.1,
        nu: float | None = None,
        n_bins: int = 10,
        purity: float = 0.9,
        min_size: int = 3,
        radius: str = "mean",
        radius_scale: float = 0.05,
        agg: str = "median",
        enforce_min: bool = False,
        weight: str = "size",
        standardize: bool = True,
        degree: int = 3,
        coef0: float = 0.0,
        tol: float = 1e-6,
        max_iter: int = 200,
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.gamma = gamma
        self.C = C
        self.epsilon = epsilon
        self.nu = nu
        self.n_bins = n_bins
        self.purity = purity
        self.min_size = min_size
        self.radius = radius
        self.radius_scale = radius_scale
        self.agg = agg
        self.enforce_min = enforce_min
        self.weight = weight
        self.standardize = standardize
        self.degree = degree
        self.coef0 = coef0
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to X (rows, columns), y (rows,) and optionally a weight per row; weight 2 counts as two rows."""
        self._refuse()
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        y = np.asarray(y, dtype=np.float64)
        row_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        self.mean_, self.scale_ = _moments(X, row_weight) if self.standardize else _neutral(X.shape[1])
        rows = (X - self.mean_) / self.scale_
        self.gamma_ = self._gamma(rows, row_weight)
        balls = make_balls(rows, y, row_weight, self)
        self.centers_, self.radii_, self.targets_ = balls.centers, balls.radii, balls.targets
        self.weights_, self.counts_, self.labels_ = balls.weights, balls.counts, balls.labels
        costs = self.C * (balls.weights if self.weight == "size" else np.ones(len(balls.weights)))
        if self.radius_scale == 0:
            self._fit_centres(costs)
        else:
            self._fit_balls(costs, self.radius_scale * self._feature_radii(rows, row_weight, balls))
        if self.w_norm_ < CONSTANT and np.ptp(self.targets_) > 0:
            warnings.warn(
                "ball radii force a constant model; lower radius_scale, raise purity or lower min_size",
                UserWarning,
                stacklevel=2,
            )
        return self

    def predict(self, X: Any) -> Floats:
        """Predict (rows,) for X (rows, columns)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        rows = (X - self.mean_) / self.scale_
        used = np.flatnonzero(self.dual_coef_)
        centers, coefficients = self.centers_[used], self.dual_coef_[used]
        found = np.full(len(rows), self.intercept_)
        step = max(1, CHUNK // max(1, len(used)))
        for start in range(0, len(rows) if len(used) else 0, step):
            part = slice(start, start + step)
            found[part] += self._kernel(rows[part], centers) @ coefficients
        return found

    def _fit_centres(self, costs: Floats) -> None:
        """Plain SVR on the centres: libsvm is made for it."""
        kernel = {"kernel": self.kernel, "gamma": self.gamma_, "degree": self.degree, "coef0": self.coef0}
        tube = {"epsilon": self.epsilon} if self.nu is None else {"nu": self.nu}
        svr = (SVR if self.nu is None else NuSVR)(**kernel, **tube, C=1.0, tol=self.tol)
        svr.fit(self.centers_, self.targets_, sample_weight=costs)
        self.dual_coef_ = np.zeros(len(self.centers_))
        self.dual_coef_[svr.support_] = svr.dual_coef_[0]
        self.intercept_ = float(svr.intercept_[0])
        coefficients, support = svr.dual_coef_[0], self.centers_[svr.support_]
        self.w_norm_ = float(np.sqrt(max(coefficients @ self._kernel(support, support) @ coefficients, 0.0)))
        self.n_iter_, self.dual_gap_ = max(1, int(np.max(svr.n_iter_))), float("nan")

    def _fit_balls(self, costs: Floats, radii: Floats) -> None:
        gram = self._kernel(self.centers_, self.centers_)
        features = self.centers_ if self.kernel == "linear" else half_gram(gram)
        tube = solve_tube(
            features, radii, self.targets_, costs, self.epsilon, nu=self.nu, tol=self.tol, max_steps=self.max_iter
        )
        self.dual_coef_, self.intercept_, self.w_norm_ = tube.coefficients, tube.intercept, tube.norm
        self.dual_gap_ = (tube.primal - tube.dual) / max(abs(tube.primal), 1e-300)
        self.n_iter_ = max(1, tube.steps)
        if not tube.converged:
            warnings.warn(
                f"the tube was not solved to tol={self.tol:g} in {tube.steps} steps (gap {self.dual_gap_:.1e}); "
                "raise max_iter or tol, or lower C",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _feature_radii(self, rows: Floats, row_weight: Floats, balls: Balls) -> Floats:
        """Radii in the feature space of the kernel, (balls,)."""
        if self.kernel == "linear":
            return balls.radii
        if self.kernel == "rbf":
            return np.asarray(np.sqrt(2 - 2 * np.exp(-self.gamma_ * balls.radii**2)))
        counted = row_weight > 0
        rows, weight, labels = rows[counted], row_weight[counted], balls.labels[counted]
        centers = balls.centers[labels]
        squares = [self.gamma_ * np.einsum("ij,ij->i", a, b) + self.coef0 for a, b in _pairs(rows, centers)]
        (own, other, cross) = (s**self.degree for s in squares)
        distance = np.sqrt(np.maximum(own + other - 2 * cross, 0))
        if self.radius == "max":
            radii = np.zeros(len(balls.radii))
            np.maximum.at(radii, labels, distance)
            return radii
        return np.asarray(np.bincount(labels, weights=weight * distance) / balls.weights)

    def _kernel(self, left: Floats, right: Floats) -> Floats:
        settings = {"rbf": ("gamma",), "linear": (), "poly": ("gamma", "degree", "coef0")}[self.kernel]
        given = {"gamma": self.gamma_, "degree": self.degree, "coef0": self.coef0}
        named = {name: given[name] for name in settings}
        return np.asarray(pairwise_kernels(left, right, metric=self.kernel, **named))

    def _gamma(self, rows: Floats, row_weight: Floats) -> float:
        if isinstance(self.gamma, str):
            if self.gamma == "auto":
                return 1 / int(rows.shape[1])
            mean = np.average(rows.mean(axis=1), weights=row_weight)
            variance = float(np.average(np.square(rows - mean).mean(axis=1), weights=row_weight))
            return 1 / (int(rows.shape[1]) * variance) if variance > 0 else 1.0
        return float(self.gamma)

    def _refuse(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {self.kernel!r}")
        if self.gamma not in ("scale", "auto") and not (not isinstance(self.gamma, str) and self.gamma > 0):
            raise ValueError(f"gamma must be 'scale', 'auto' or a positive number, got {self.gamma!r}")
        if not self.C > 0:
            raise ValueError(f"C must be positive, got {self.C}")
        if not self.epsilon >= 0:
            raise ValueError(f"epsilon must be at least 0, got {self.epsilon}")
        if self.nu is not None and not 0 < self.nu < 1:
            raise ValueError(f"nu must lie in (0, 1), or be None, got {self.nu}")
        if not 0 <= self.radius_scale <= 1:
            raise ValueError(f"radius_scale must lie in [0, 1], got {self.radius_scale}")
        if self.weight not in ("size", "equal"):
            raise ValueError(f"weight must be 'size' or 'equal', got {self.weight!r}")


def _moments(rows: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted mean and standard deviation of each column; a constant column is divided by 1."""
    mean = np.average(rows, axis=0, weights=weight)
    deviation = np.sqrt(np.average(np.square(rows - mean), axis=0, weights=weight))
    constant = deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
    return mean, np.where(constant, 1.0, deviation)


def _neutral(columns: int) -> tuple[Floats, Floats]:
    return np.zeros(columns), np.ones(columns)


def _pairs(rows: Floats, centers: Floats) -> tuple[tuple[Floats, Floats], ...]:
    return (rows, rows), (centers, centers), (rows, centers)
