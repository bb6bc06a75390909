"""The hybrid for critical heat flux: Biasi or Bowring plus a learned residual, inside the ranges where they were fitted.

Furlong et al. 2025, arXiv:2502.19357. Rows are D, L, P, G, dh in SI; the target is kW/m2. A correlation outside its
range is no longer evidence, so such rows are refused, or with `extrapolate=True` predicted and marked.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tameshi.tabular.heat_flux import RANGES, UNITS, biasi_heat_balance, bowring_inlet, in_range, outlet_quality
from tameshi.tabular.hybrid import HybridRegressor
from tameshi.tabular.steam import saturation

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

COLUMNS = {"D": "diameter", "L": "length", "P": "pressure", "G": "mass_flux", "dh": "subcooling"}
"""The columns of a row, in order: tube diameter and heated length (m), pressure (Pa), mass flux (kg/m2s), and subcooling
at the inlet (J/kg, negative where steam enters)."""

FORMULAS = {"biasi": biasi_heat_balance, "bowring": bowring_inlet}


class HybridCHFRegressor(HybridRegressor):
    """Critical heat flux of a uniformly heated tube, with a standard deviation.

        HybridCHFRegressor("bowring").fit(X, y).predict(X_new, return_std=True)

    X is a DataFrame with the columns D, L, P, G, dh (others are left aside), or an array in this order; see `COLUMNS`
    for the units. With `base=None`, the pure model, any columns will do and no range holds.

    Args:
        base: "biasi", "bowring", or None.
        residual: as in `HybridRegressor`.
        relative: as in `HybridRegressor`.
        extrapolate: take rows outside the range of the correlation, with a warning that counts them;
            `extrapolates(X)` says which.

    Raises:
        ValueError: rows outside the range (naming the column that looks like another unit), columns missing, or a
            target that is not positive.
    """

    def __init__(
        self, base: str | None = "biasi", residual: Any = None, relative: bool = False, extrapolate: bool = False
    ) -> None:
        super().__init__(base, residual, relative)
        self.extrapolate = extrapolate

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (rows, 5) and y (rows,) in kW/m2."""
        if self.base is not None and self.base not in FORMULAS:
            raise ValueError(f"base must be one of {', '.join(FORMULAS)} or None, got {self.base!r}")
        if self.base is not None and np.any(np.asarray(y, dtype=np.float64) <= 0):
            raise ValueError("critical heat flux must be positive, in kW/m2")
        super().fit(self._chosen(X), y)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Floats | tuple[Floats, Floats]:
        """Predict for X (rows, 5): mean (rows,) in kW/m2, and with `return_std` the standard deviation.

        Warns of predictions for rows inside the range that cannot be, or lie at a quality where the correlation was not
        fitted; `remarks` says which.
        """
        found = super().predict(self._chosen(X), return_std)
        if self.base is not None:
            mean, rows = found[0] if isinstance(found, tuple) else found, np.asarray(self._chosen(X), dtype=np.float64)
            inside = within(self.base, rows)
            doubts = doubtful(self.base, rows[inside], mean[inside])
            told = [f"{int(flags.sum())} have {reason}" for reason, flags in doubts.items() if flags.any()]
            if told:
                warnings.warn(f"of {len(mean)} predictions {'; '.join(told)}", UserWarning, stacklevel=2)
        return found

    def predict_base(self, X: Any) -> Floats:
        """What the correlation alone predicts, (rows,), kW/m2."""
        return super().predict_base(self._chosen(X))

    def extrapolates(self, X: Any) -> Flags:
        """Which rows lie outside the range of the correlation, (rows,)."""
        rows = np.asarray(self._chosen(X), dtype=np.float64)
        return np.zeros(len(rows), dtype=np.bool_) if self.base is None else ~within(self.base, rows)

    def remarks(self, X: Any, flux: Any) -> list[str]:
        """What has to be known of each heat flux, "" for most.

        Outside the range, steam at the inlet, or a flux that cannot be: not positive, or with an outlet quality above 1 or
        below the range by the heat balance.

        Args:
            X: (rows, 5), as in `predict`.
            flux: (rows,), kW/m2, predicted or measured.

        Raises:
            ValueError: a pressure off the saturation table.
        """
        rows = np.asarray(self._chosen(X), dtype=np.float64)
        if self.base is None:
            return [""] * len(rows)
        told = {f"outside the range of {self.base}": ~within(self.base, rows), "steam at the inlet": rows[:, 4] < 0}
        told |= doubtful(self.base, rows, np.asarray(flux, dtype=np.float64))
        return ["; ".join(reason for reason, flags in told.items() if flags[row]) for row in range(len(rows))]

    def _chosen(self, X: Any) -> Any:
        """The five columns of a DataFrame by name; an array as it is."""
        if self.base is None or not hasattr(X, "columns"):
            return X
        missing = [name for name in COLUMNS if name not in X.columns]
        if missing:
            raise ValueError(f"the table must have the columns {', '.join(COLUMNS)}; {', '.join(missing)} is missing")
        return X[list(COLUMNS)]

    def _base(self, X: Floats, y: Floats) -> Any:
        return self.base

    def _formula(self, X: Floats) -> Floats:
        if self.base_ is None:
            return super()._formula(X)
        if X.shape[1] != len(COLUMNS):
            raise ValueError(f"a row must hold {', '.join(COLUMNS)} ({len(COLUMNS)} columns), got {X.shape[1]}")
        outside = ~within(self.base_, X)
        if outside.any():
            told = (
                f"{int(outside.sum())} of {len(X)} rows lie outside the range of {self.base_} ({_why(self.base_, X)})"
            )
            if not self.extrapolate:
                raise ValueError(f"{told}; leave them out, or set extrapolate=True to have them predicted and marked")
            warnings.warn(f"{told} and are extrapolated", UserWarning, stacklevel=3)
        found = FORMULAS[self.base_](**{name: X[:, place] for place, name in enumerate(COLUMNS.values())})
        if self.relative and not (found > 0).all():
            raise ValueError(f"{self.base_} gives no positive heat flux for some rows; use relative=False")
        return np.asarray(found)


def within(base: str, X: Floats, flux: Floats | None = None) -> Flags:
    """Which rows lie in the range of a correlation, (rows,).

    Args:
        base: "biasi" or "bowring".
        X: (rows, 5).
        flux: (rows,), kW/m2, measured; with it Biasi's range of quality is asked for too, by the heat balance.
    """
    named = {name: X[:, place] for place, name in enumerate(COLUMNS.values()) if name in RANGES["biasi"]}
    if base != "biasi":
        return in_range("bowring", **named)
    found = in_range("biasi", **named)
    if flux is not None:
        found[found] = in_range("biasi", pressure=X[found, 2], quality=_outlet(X[found], flux[found]))
    return found


def doubtful(base: str, X: Floats, flux: Floats) -> dict[str, Flags]:
    """Heat fluxes that cannot be, or at an outlet quality where the correlation was not fitted.

    Args:
        base: "biasi" or "bowring", which has no range of quality of its own; 0 to 1 is asked for (our choice).
        X: (rows, 5).
        flux: (rows,), kW/m2.

    Returns:
        The reason -> the rows it holds for, (rows,).

    Raises:
        ValueError: a pressure off the saturation table.
    """
    quality = _outlet(X, flux)
    least: Floats | float = 0.0
    if base == "biasi":
        steam = saturation(X[:, 2])
        least = 1 / (1 + steam.liquid_density / steam.steam_density)
    return {
        "no positive heat flux": flux <= 0,
        "an outlet quality above 1": quality > 1,
        "an outlet quality below the range": quality < least,
    }


def _outlet(X: Floats, flux: Floats) -> Floats:
    bore, length, pressure, mass_flux, cold = X.T
    return outlet_quality(flux, pressure, mass_flux, bore, length, cold)


def suspicious_unit(name: str, values: Floats) -> str | None:
    """A hint if a column looks as if it stood in another unit, a thousand times or a million times off.

    Args:
        name: of the column in `COLUMNS`.
        values: (rows,).
    """
    low, high = PLAUSIBLE[name]
    middle = float(np.median(np.abs(values)))
    if low <= middle <= high or middle == 0:
        return None
    for factor, words in ((1e3, "a thousand"), (1e6, "a million"), (1e-3, "a thousand"), (1e-6, "a million")):
        if low <= middle * factor <= high:
            size = "small" if factor > 1 else "large"
            return f"column {name} looks {words} times too {size} for {UNITS[COLUMNS[name]]} (its median is {middle:g})"
    return None


PLAUSIBLE = {"D": (0.0015, 0.1), "L": (0.05, 20), "P": (0.09e6, 22e6), "G": (10, 2e4), "dh": (1.5e3, 1.8e6)}


def _why(base: str, X: Floats) -> str:
    for place, name in enumerate(COLUMNS):
        hint = suspicious_unit(name, X[:, place])
        if hint:
            return hint
    ranges = RANGES["biasi" if base == "biasi" else "bowring"]
    for place, (letter, name) in enumerate(COLUMNS.items()):
        if name in ranges:
            low, high = ranges[name]
            bad = X[(X[:, place] < low) | (X[:, place] > high), place]
            if len(bad):
                return f"{letter} must lie in {low:g} to {high:g} {UNITS[name]}, and is {bad[0]:g}"
    return "its own ranges"
