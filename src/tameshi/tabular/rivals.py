"""What granular balls are held against: other kernel regressions, the same number of rows or centres, and a predecessor.

`SubsetSVR` is the control of every speed claim: it trains on as many random rows as there are balls and looks at
nothing.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import KMeans
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import HuberRegressor, Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVR, NuSVR
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tameshi.tabular.gbsvr import GBSVR

Floats = NDArray[np.float64]


class SubsetSVR(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """SVR on a random subset of the rows.

    Args:
        rows: how many to keep; all if there are fewer.
        gamma, C, epsilon, tol: of `sklearn.svm.SVR`.
        random_state: which rows.
    """

    def __init__(
        self,
        rows: int = 200,
        gamma: str | float = "scale",
        C: float = 1.0,
        epsilon: float = 0.1,
        tol: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.rows = rows
        self.gamma = gamma
        self.C = C
        self.epsilon = epsilon
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (rows, columns) and y (rows,)."""
        if self.rows < 1:
            raise ValueError(f"rows must be at least 1, got {self.rows}")
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        kept = check_random_state(self.random_state).permutation(len(X))[: self.rows]
        self.svr_ = SVR(gamma=self.gamma, C=self.C, epsilon=self.epsilon, tol=self.tol).fit(X[kept], y[kept])
        return self

    def predict(self, X: Any) -> Floats:
        """Predict (rows,) for X (rows, columns)."""
        check_is_fitted(self)
        return np.asarray(self.svr_.predict(validate_data(self, X, dtype=np.float64, reset=False)))


class CentroidSVR(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """SVR on the centres of target-blind k-means, each with the median target of its rows and a cost for each row.

    Args:
        clusters: how many centres; the number of rows if that is fewer.
        gamma, C, epsilon, tol: of `sklearn.svm.SVR`.
        random_state: of k-means.
    """

    def __init__(
        self,
        clusters: int = 100,
        gamma: str | float = "scale",
        C: float = 1.0,
        epsilon: float = 0.1,
        tol: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.clusters = clusters
        self.gamma = gamma
        self.C = C
        self.epsilon = epsilon
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (rows, columns) and y (rows,)."""
        if self.clusters < 1:
            raise ValueError(f"clusters must be at least 1, got {self.clusters}")
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        wanted = min(self.clusters, len(np.unique(X, axis=0)))
        means = KMeans(wanted, n_init=1, random_state=check_random_state(self.random_state)).fit(X)
        medians = np.array([np.median(y[means.labels_ == cluster]) for cluster in range(wanted)])
        counts = np.bincount(means.labels_, minlength=wanted).astype(np.float64)
        svr = SVR(gamma=self.gamma, C=self.C, epsilon=self.epsilon, tol=self.tol)
        self.svr_ = svr.fit(means.cluster_centers_, medians, sample_weight=counts)
        return self

    def predict(self, X: Any) -> Floats:
        """Predict (rows,) for X (rows, columns)."""
        check_is_fitted(self)
        return np.asarray(self.svr_.predict(validate_data(self, X, dtype=np.float64, reset=False)))


class TwinSVR(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Twin support vector regression (Peng 2010): the mean of a lower and an upper bound on the target.

    Each bound comes from one box-constrained program. With H = [K, 1] and P = H (H'H + ridge I)^-1 H', the lower
    bound fits f = y - epsilon from

        min  a'Pa / 2 - f'Pa + f'a,   0 <= a <= C,      weights = (H'H + ridge I)^-1 H' (f - a)

    and the upper bound fits y + epsilon with the signs turned round. Cost is cubic, memory quadratic in the rows.

    Args:
        gamma: of the RBF kernel; "scale" is 1 / (columns x variance of X).
        C: of both programs; positive.
        epsilon: half the distance of the two bounds.
        ridge: keeps H'H invertible; positive.
    """

    def __init__(self, gamma: str | float = "scale", C: float = 1.0, epsilon: float = 0.1, ridge: float = 1e-3) -> None:
        self.gamma = gamma
        self.C = C
        self.epsilon = epsilon
        self.ridge = ridge

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (rows, columns) and y (rows,)."""
        if not (self.C > 0 and self.ridge > 0 and self.epsilon >= 0):
            raise ValueError(
                "C and ridge must be positive and epsilon at least 0, "
                f"got C={self.C}, ridge={self.ridge}, epsilon={self.epsilon}"
            )
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        variance = float(X.var())
        scaled = 1 / (X.shape[1] * variance) if variance > 0 else 1.0
        self.gamma_ = scaled if self.gamma == "scale" else float(self.gamma)
        self.rows_ = X
        design = np.c_[rbf_kernel(X, gamma=self.gamma_), np.ones(len(X))]
        factor = linalg.cho_factor(design.T @ design + self.ridge * np.eye(design.shape[1]), lower=True)
        solve = linalg.cho_solve(factor, design.T)
        project = design @ solve
        lower, upper = y - self.epsilon, y + self.epsilon
        a = _box_program(project, lower - project @ lower, self.C)
        g = _box_program(project, project @ upper - upper, self.C)
        self.weights_ = (solve @ (lower - a) + solve @ (upper + g)) / 2
        return self

    def predict(self, X: Any) -> Floats:
        """Predict (rows,) for X (rows, columns)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return np.asarray(rbf_kernel(X, self.rows_, gamma=self.gamma_) @ self.weights_[:-1] + self.weights_[-1])


def multi_granularity_svr(**settings: Any) -> GBSVR:
    """Con-MGSVR, the predecessor that GBSVR says it corrects, as far as its abstract tells: a `GBSVR` with `nu`.

    Shao et al. 2025, "Con-MGSVM: Controllable multi-granularity support vector algorithm for classification and
    regression", Information Fusion 117, doi 10.1016/j.inffus.2024.102867. The abstract says: granular balls in the place
    of points, and a parameter nu that limits how many of them support the model. From the code that the same group
    published for its classifier (GBSVM, arXiv:2210.03120) come whole radii, a ball's radius as the mean distance of its
    rows, and one cost a ball. Neither says what the target of a ball is (the mean here, our choice) or how great nu is
    (0.5, scikit-learn's default). Theirs is solved by a particle swarm, here to the optimum. The equations were not to
    be had, so what GBSVR found inconsistent in them is not rebuilt, and a figure of this says nothing about theirs.

    Args:
        settings: of `GBSVR`, in the place of these.
    """
    return GBSVR(**{"nu": 0.5, "radius_scale": 1.0, "agg": "mean", "weight": "equal", **settings})


def nystroem_ridge(rows: int, *, gamma: float, alpha: float, seed: int) -> Pipeline:
    """Ridge regression on the Nyström features of an RBF kernel with as many landmarks as there are balls."""
    return make_pipeline(Nystroem(gamma=gamma, n_components=rows, random_state=seed), Ridge(alpha=alpha))


def rivals(
    *, gamma: float, C: float, epsilon: float, balls: int, seed: int, tol: float = 1e-3
) -> dict[str, RegressorMixin]:
    """Every baseline at one setting, unfitted, for standardised rows.

    Args:
        gamma, C, epsilon: of the kernel machines; ridge regression takes 1/C, and what has a nu takes 0.5.
        balls: how many balls there are: k-means gets as many centres, the random subsets as many rows and twice that.
        seed: of the random ones.
        tol: of libsvm.
    """
    shared = {"gamma": gamma, "C": C, "tol": tol}
    return {
        "svr": SVR(epsilon=epsilon, **shared),
        "nu-svr": NuSVR(**shared),
        "random-subset": SubsetSVR(balls, epsilon=epsilon, random_state=seed, **shared),
        "random-double": SubsetSVR(2 * balls, epsilon=epsilon, random_state=seed, **shared),
        "k-means": CentroidSVR(balls, epsilon=epsilon, random_state=seed, **shared),
        "twin-svr": TwinSVR(gamma=gamma, C=C, epsilon=epsilon),
        "multi-granularity": multi_granularity_svr(gamma=gamma, C=C, standardize=False),
        "kernel-ridge": KernelRidge(kernel="rbf", gamma=gamma, alpha=1 / C),
        "nystroem": nystroem_ridge(balls, gamma=gamma, alpha=1 / C, seed=seed),
        "huber": HuberRegressor(alpha=1 / C, max_iter=1000),
    }


def _box_program(quadratic: Floats, linear: Floats, top: float) -> Floats:
    """argmin a'Qa / 2 + linear'a over [0, top]^n, by L-BFGS-B."""

    def value(a: Floats) -> tuple[float, Floats]:
        pull = quadratic @ a
        return float(a @ pull) / 2 + float(linear @ a), pull + linear

    found = minimize(value, np.zeros(len(linear)), jac=True, bounds=[(0, top)] * len(linear), method="L-BFGS-B")
    return np.asarray(found.x)
