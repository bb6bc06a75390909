"""The epsilon tube around balls: the quadratic program of GBSVR and its solver.

Rastogi et al. 2025, arXiv:2503.10539, with the dual derived from the ingredients that their abstract and summaries
name (our derivation, checked by strong duality and by its reduction to SVR). Every point of ball i must lie in the
tube, and the worst point of a ball lies along w, so with e_i = y_i - w.c_i - b:

    min  ||w||^2 / 2 + sum_i C_i (xi_i + xi*_i)   s.t.  e_i + r_i ||w|| <= eps + xi_i,   -e_i + r_i ||w|| <= eps + xi*_i

With A = sum_i (alpha_i - alpha*_i) c_i and B = sum_i (alpha_i + alpha*_i) r_i the dual is

    max  -(||A|| - B)_+^2 / 2 - eps sum(alpha + alpha*) + sum y (alpha - alpha*)
    s.t.  sum(alpha - alpha*) = 0,   0 <= alpha_i, alpha*_i <= C_i

and w = (||A|| - B)_+ A / ||A||. Both alpha_i and alpha*_i may be positive: both sides of a large ball stick out.

With nu in the place of eps, as in nu-SVR (Schoelkopf et al. 2000), eps is found too: the primal pays nu sum_i C_i for
each unit of it, and the dual asks sum(alpha + alpha*) = nu sum_i C_i in the place of its price. Below nu = 1 an eps
under 0 never pays, because then at least one side of every ball sticks out.

The solver is a primal-dual interior point method with Nesterov-Todd scaling and Mehrotra's corrector (our choice;
Vandenberghe 2010, "The CVXOPT linear and quadratic cone program solvers"). The norm becomes a variable t >= ||w||, a
second-order cone, so one step costs one Cholesky factor as large as the rank of the kernel matrix, plus two, and 15
to 30 steps are enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Floats = NDArray[np.float64]

PATIENCE = 10  # steps without a smaller gap: no digits are left


@dataclass(frozen=True)
class Tube:
    """A solved tube.

    Args:
        above: (balls,), alpha: the multiplier of the side above the tube.
        below: (balls,), alpha*: of the side below.
        coefficients: (balls,), what the kernel with each centre is multiplied with.
        intercept: b, where the primal is smallest for this w.
        norm: ||w||; 0 is a constant model.
        epsilon: half width of the tube: as given, or found where nu was.
        primal: value of the primal objective, an upper bound of the optimum.
        dual: value of the dual objective, a lower bound.
        steps: Newton steps taken.
        converged: whether the gap came under the tolerance.
    """

    above: Floats
    below: Floats
    coefficients: Floats
    intercept: float
    norm: float
    epsilon: float
    primal: float
    dual: float
    steps: int
    converged: bool

    @property
    def gap(self) -> float:
        return self.primal - self.dual


def half_gram(gram: Floats) -> Floats:
    """Features whose inner products are a kernel matrix, (balls, rank), by Cholesky with pivots."""
    factor, pivots, rank, _ = linalg.lapack.dpstrf(gram, lower=1, tol=1e-13 * max(float(gram.diagonal().max()), 1e-300))
    features = np.zeros((len(gram), max(rank, 1)))
    features[pivots - 1] = np.tril(factor)[:, : max(rank, 1)]
    return features


def solve_tube(
    features: Floats,
    radii: Floats,
    targets: Floats,
    costs: Floats,
    epsilon: float,
    *,
    tol: float,
    max_steps: int,
    nu: float | None = None,
) -> Tube:
    """Solve the program of the module's docstring.

    Args:
        features: (balls, rank), the centres, or features whose inner products are the kernel matrix (`half_gram`).
        radii: (balls,), at least 0, in the space of the features.
        targets: (balls,).
        costs: (balls,), C_i, positive.
        epsilon: half width of the tube, at least 0; takes no part where nu is given.
        tol: stop when the duality gap is below this share of the objective (or of a thousandth of the loss of the
            median, where the objective goes to 0). 1e-4 is reached wherever costs stay under a thousand standard
            deviations of the targets; 1e-6 asks for the last digits, and in one table of a hundred they are not there.
        max_steps: Newton steps at most.
        nu: in (0, 1): find the half width too, so that the balls that stick out hold at most this share of all costs.
    """
    unit = float(targets.std()) or epsilon or 1.0  # solved in this unit, so that no constant below has one
    middle = float(np.median(targets))
    problem = _Problem(
        features, radii, (targets - middle) / unit, costs / unit, 0.0 if nu is not None else epsilon / unit, nu
    )
    point = problem.start()
    best, waited = problem.solution(point, 0, tol), 0
    with np.errstate(all="ignore"):  # what runs out of digits is not finite, and not taken
        for step in range(1, max_steps + 1):
            moved = _newton(problem, point)
            if best.converged or moved is None or waited == PATIENCE:
                break
            point = moved
            found = problem.solution(point, step, tol)
            waited = 0 if found.gap < 0.9 * best.gap else waited + 1
            best = min(best, found, key=lambda tube: tube.gap)
    return Tube(
        best.above * unit,
        best.below * unit,
        best.coefficients * unit,
        best.intercept * unit + middle,
        best.norm * unit,
        best.epsilon * unit,
        best.primal * unit**2,
        best.dual * unit**2,
        best.steps,
        best.converged,
    )


def best_intercept(residual: Floats, width: Floats, costs: Floats) -> float:
    """The b that makes sum_i C_i ((e_i - b - width_i)_+ + (b - e_i - width_i)_+) smallest; the middle where b is free.

    Args:
        residual: (balls,), e_i before the intercept is taken off.
        width: (balls,), half width of each ball's tube; negative where the ball is wider than the tube.
        costs: (balls,), C_i.
    """
    breaks = np.r_[residual - width, residual + width]
    order = np.argsort(breaks, kind="stable")
    slope = np.cumsum(np.r_[costs, costs][order]) - costs.sum()
    hair = 1e-12 * costs.sum()
    low, high = int(np.argmax(slope >= -hair)), int(np.argmax(slope > hair))
    return float(breaks[order[low]] + breaks[order[high]]) / 2


@dataclass(frozen=True)
class _Point:
    """A point of the interior: x = (t, w, b) or (t, w, b, eps), and for both sides of each ball the other three."""

    x: Floats  # (rank + 2,) or (rank + 3,)
    slack: Floats  # (2, balls): eps + excess - overshoot
    excess: Floats  # (2, balls): xi
    alpha: Floats  # (2, balls): in (0, C)
    cone: Floats  # (rank + 1,): multiplier of (t, w) in the second-order cone


@dataclass(frozen=True)
class _Problem:
    features: Floats
    radii: Floats
    targets: Floats
    costs: Floats
    epsilon: float
    nu: float | None

    @property
    def cone(self) -> int:
        """How many of x are (t, w), the part in the second-order cone."""
        return int(self.features.shape[1]) + 1

    def spread(self, x: Floats) -> Floats:
        """Change of x -> change of how far each side of each ball sticks out of the tube, (2, balls)."""
        error = -self.features @ x[1 : self.cone] - x[self.cone]
        found = np.asarray(np.stack([error, -error]) + self.radii * x[0])
        return found if self.nu is None else found - x[-1]

    def gather(self, alpha: Floats) -> Floats:
        """The transpose of `spread`: (2, balls) -> the size of x."""
        signed = alpha[0] - alpha[1]
        pull, balance = -self.features.T @ signed, -float(signed.sum())
        found = np.r_[float(alpha.sum(axis=0) @ self.radii), pull, balance]
        return np.asarray(found if self.nu is None else np.r_[found, -float(alpha.sum())])

    def normal(self, stiff: Floats) -> Floats:
        """spread' diag(stiff) spread in the lower triangle, for the stiffness of both sides, (2, balls)."""
        total, signed, at = stiff.sum(axis=0), stiff[0] - stiff[1], self.cone
        size = at + (1 if self.nu is None else 2)
        matrix = np.empty((size, size))
        matrix[1:at, 1:at] = linalg.blas.dsyrk(1.0, self.features * np.sqrt(total)[:, None], trans=1, lower=1)
        matrix[0, 0] = float(total @ self.radii**2)
        matrix[1:at, 0] = -self.features.T @ (signed * self.radii)
        matrix[at, 0] = -float(signed @ self.radii)
        matrix[at, 1:at] = self.features.T @ total
        matrix[at, at] = float(total.sum())
        if self.nu is not None:
            matrix[-1, 0] = -float(total @ self.radii)
            matrix[-1, 1:at] = self.features.T @ signed
            matrix[-1, at] = float(signed.sum())
            matrix[-1, -1] = float(total.sum())
        return matrix

    def start(self) -> _Point:
        """A point that satisfies the primal constraints, as all later ones do, because these are linear."""
        x = np.zeros(self.cone + (1 if self.nu is None else 2))
        x[0] = 1.0
        over = np.stack([self.targets, -self.targets]) - self.epsilon + self.spread(x)
        excess = np.maximum(over, 0) + 1
        alpha = np.broadcast_to(self.costs / 2, over.shape).copy()
        cone = np.zeros(self.cone)
        cone[0] = 1 + float(alpha.sum(axis=0) @ self.radii)
        return _Point(x, excess - over, excess, alpha, cone)

    def solution(self, point: _Point, steps: int, tol: float) -> Tube:
        """The feasible pair nearest to an interior point: balanced multipliers, their w, the best intercept for it."""
        alpha = np.clip(point.alpha, 0, self.costs)
        sums = alpha.sum(axis=1)
        most = np.inf if self.nu is None else self.nu * float(self.costs.sum()) / 2
        alpha = alpha * (min(sums.min(), most) / np.maximum(sums, 1e-300))[:, None]
        epsilon, price = self.epsilon, 0.0
        if self.nu is not None:
            epsilon = max(float(point.x[-1]), 0.0)
            price = 2 * most * epsilon
        difference = alpha[0] - alpha[1]
        pull = self.features.T @ difference
        length = float(np.linalg.norm(pull))
        norm = max(length - float(alpha.sum(axis=0) @ self.radii), 0.0)
        share = norm / length if length > 0 else 0.0
        residual = self.targets - share * (self.features @ pull)
        b = best_intercept(residual, epsilon - self.radii * norm, self.costs)
        sides = np.stack([residual - b, b - residual]) + self.radii * norm - epsilon
        primal = norm**2 / 2 + float((np.maximum(sides, 0) * self.costs).sum()) + price
        dual = float(self.targets @ difference) - self.epsilon * float(alpha.sum()) - norm**2 / 2
        constant = float(self.costs @ np.abs(self.targets))  # the loss of predicting the median, without a tube
        converged = primal - dual <= tol * max(abs(primal), 1e-3 * constant, 1e-9 * float(self.costs.sum()))
        return Tube(alpha[0], alpha[1], share * difference, b, norm, epsilon, primal, dual, steps, converged)


def _newton(problem: _Problem, p: _Point) -> _Point | None:
    """One predictor and one corrector step; None if the system can no longer be solved."""
    beta, at = problem.costs - p.alpha, problem.cone
    scaling = _Scaling.between(p.x[:at], p.cone)
    if scaling is None:
        return None
    pairs = p.alpha.size * 2 + 1
    mu = (float((p.alpha * p.slack).sum()) + float((beta * p.excess).sum()) + float(p.cone @ p.x[:at])) / pairs
    stiff = 1 / (p.excess / beta + p.slack / p.alpha)

    matrix = problem.normal(stiff)
    matrix[0, 0] += 1
    scaling.add_inverse_square(matrix[:at, :at])
    try:
        factor = linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return None

    stationarity = problem.gather(p.alpha)
    stationarity[0] += p.x[0]
    stationarity[:at] -= p.cone
    if problem.nu is not None:
        stationarity[-1] += problem.nu * float(problem.costs.sum())

    def direction(at_slack: Floats, at_excess: Floats, at_cone: Floats) -> _Point:
        """The step towards the given products of each pair; `at_cone` is in scaled coordinates."""
        wanted = at_slack / p.alpha - at_excess / beta
        right = -stationarity - problem.gather(stiff * wanted)
        lift = scaling.inverse(at_cone)
        right[:at] += lift
        x = linalg.cho_solve(factor, right, check_finite=False)
        alpha = stiff * (problem.spread(x) + wanted)
        slack = (at_slack - p.slack * alpha) / p.alpha
        excess = (at_excess + p.excess * alpha) / beta
        return _Point(x, slack, excess, alpha, lift - scaling.inverse(scaling.inverse(x[:at])))

    middle = scaling.middle
    first = direction(-p.alpha * p.slack, -beta * p.excess, -middle)
    length = _longest(p, beta, first, scaling)
    goal = mu * (1 - length) ** 3
    bend = _product(scaling.inverse(first.x[:at]), scaling.times(first.cone))
    target = -_product(middle, middle) - bend
    target[0] += goal
    step = direction(
        goal - p.alpha * p.slack - first.alpha * first.slack,
        goal - beta * p.excess + first.alpha * first.excess,
        _quotient(target, middle),
    )
    length = 0.99 * _longest(p, beta, step, scaling)
    moved = _Point(
        p.x + length * step.x,
        p.slack + length * step.slack,
        p.excess + length * step.excess,
        p.alpha + length * step.alpha,
        p.cone + length * step.cone,
    )
    return moved if np.isfinite(moved.x).all() and np.isfinite(moved.alpha).all() else None


def _longest(p: _Point, beta: Floats, step: _Point, scaling: _Scaling) -> float:
    """The longest step, at most 1, that leaves every positive quantity at least 0 and both cones entered."""
    now = np.concatenate([p.alpha, beta, p.slack, p.excess], axis=None)
    change = np.concatenate([step.alpha, -step.alpha, step.slack, step.excess], axis=None)
    down = change < 0
    length = float((now[down] / -change[down]).min()) if down.any() else 1.0
    for moved in (scaling.inverse(step.x[: len(step.cone)]), scaling.times(step.cone)):
        length = min(length, _to_boundary(scaling.middle, moved))
    return min(length, 1.0)


@dataclass(frozen=True)
class _Scaling:
    """Nesterov-Todd scaling of the second-order cone: a matrix W with W cone = W^-1 point = middle."""

    axis: Floats
    eta: float
    middle: Floats

    @classmethod
    def between(cls, point: Floats, cone: Floats) -> _Scaling | None:
        left, right = _cone_norm(point), _cone_norm(cone)
        if not (left > 0 and right > 0):
            return None
        s, c = point / left, cone / right
        axis = np.r_[s[0] + c[0], s[1:] - c[1:]] / np.sqrt(2 * (1 + float(s @ c)))
        scaling = cls(axis, float(np.sqrt(left / right)), cone)
        return cls(axis, scaling.eta, scaling.times(cone))

    def times(self, x: Floats) -> Floats:
        along = float(self.axis[1:] @ x[1:])
        turned = np.r_[self.axis[0] * x[0] + along, x[1:] + (along / (1 + self.axis[0]) + x[0]) * self.axis[1:]]
        return np.asarray(self.eta * turned)

    def inverse(self, x: Floats) -> Floats:
        along = float(self.axis[1:] @ x[1:])
        turned = np.r_[self.axis[0] * x[0] - along, x[1:] + (along / (1 + self.axis[0]) - x[0]) * self.axis[1:]]
        return np.asarray(turned / self.eta)

    def add_inverse_square(self, matrix: Floats) -> None:
        """Add W^-2 to the matrix in place."""
        mirror = np.r_[self.axis[0], -self.axis[1:]]
        matrix += np.outer((2 / self.eta**2) * mirror, mirror)
        matrix[np.arange(1, len(mirror)), np.arange(1, len(mirror))] += 1 / self.eta**2
        matrix[0, 0] -= 1 / self.eta**2


def _cone_norm(x: Floats) -> float:
    """sqrt(t^2 - ||w||^2), as a product so that few digits are lost; 0 outside the cone."""
    length = float(np.linalg.norm(x[1:]))
    return float(np.sqrt(max((x[0] - length) * (x[0] + length), 0.0)))


def _product(x: Floats, y: Floats) -> Floats:
    """The Jordan product of the second-order cone."""
    return np.asarray(np.r_[float(x @ y), x[0] * y[1:] + y[0] * x[1:]])


def _quotient(y: Floats, x: Floats) -> Floats:
    """The u with `_product(x, u)` = y."""
    first = (x[0] * y[0] - float(x[1:] @ y[1:])) / _cone_norm(x) ** 2
    return np.asarray(np.r_[first, (y[1:] - first * x[1:]) / x[0]])


def _to_boundary(x: Floats, step: Floats) -> float:
    """How far x can go along the step before it leaves the second-order cone."""
    a = float(step[0] ** 2 - step[1:] @ step[1:])
    b = float(x[0] * step[0] - x[1:] @ step[1:])
    c = _cone_norm(x) ** 2
    inside = b * b - a * c
    if inside < 0:
        return 1.0
    q = -(b + np.copysign(np.sqrt(inside), b))
    roots = [r for r in ((q / a if a else np.inf), (c / q if q else np.inf)) if r > 0]
    return float(min(roots, default=1.0))
