"""Critical heat flux as a table: a generator with a known truth, and tables of any units in SI.

The truth is Bowring's inlet correlation times a smooth bend in mass flux, pressure and bore that neither correlation
knows, and 3 % of noise. So a base formula is off by some per cent, as in the real data, and the best error that can
be had is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tameshi.doors.screen import plain
from tameshi.tabular.chf import COLUMNS, suspicious_unit
from tameshi.tabular.heat_flux import bowring_inlet, outlet_quality
from tameshi.tabular.steam import saturation

if TYPE_CHECKING:
    from tameshi.specimens.table import Table

Floats = NDArray[np.float64]

SI = {
    "D": {"m": 1.0, "mm": 1e-3, "cm": 1e-2},
    "L": {"m": 1.0, "mm": 1e-3, "cm": 1e-2},
    "P": {"Pa": 1.0, "kPa": 1e3, "MPa": 1e6, "bar": 1e5},
    "G": {"kg/m2s": 1.0, "Mg/m2s": 1e3},
    "dh": {"J/kg": 1.0, "kJ/kg": 1e3, "MJ/kg": 1e6},
    "chf": {"kW/m2": 1.0, "W/m2": 1e-3, "MW/m2": 1e3},
}
"""Units that a column may come in, and what it is multiplied with."""

BASE_UNITS = {letter: next(iter(units)) for letter, units in SI.items()}
"""The columns of a table of critical heat flux, in order, with the units of `tameshi.tabular.chf`."""


def make_chf(rows: int, *, seed: int, noise: float = 0.03) -> tuple[Floats, Floats]:
    """Draw test points.

    Args:
        rows: how many.
        seed: same seed, same points.
        noise: relative standard deviation of the measured heat flux.

    Returns:
        (rows (rows, 5) in the order and units of `tameshi.tabular.chf.COLUMNS`, heat flux (rows,) in kW/m2).
    """
    rng = np.random.default_rng([71, seed])
    kept: list[Floats] = []
    count = 0
    while count < rows:
        drawn = _draw(rng, 2 * rows + 64, noise)
        kept.append(drawn)
        count += len(drawn)
    table = np.concatenate(kept)[:rows]
    return table[:, :5], table[:, 5]


def best_error(noise: float = 0.03) -> float:
    """Mean relative error of predicting the truth itself, about noise * sqrt(2 / pi): no model can do better on average."""
    return noise * math.sqrt(2 / math.pi)


def _draw(rng: np.random.Generator, count: int, noise: float) -> Floats:
    bore = np.exp(rng.uniform(np.log(0.004), np.log(0.016), count))
    length = rng.uniform(0.4, 3.7, count)
    pressure = rng.uniform(1e6, 13.5e6, count)
    flux = np.exp(rng.uniform(np.log(350), np.log(5000), count))
    cold = rng.uniform(30e3, 900e3, count)
    bend = (
        0.10 * np.sin(2 * np.pi * np.log(flux / 350) / np.log(5000 / 350))
        - 0.08 * (pressure / 1e6 - 7) / 7
        + 0.06 * np.tanh((bore - 0.008) / 0.004)
    )
    truth = bowring_inlet(pressure, flux, bore, length, cold) * np.exp(bend)
    measured = truth * np.exp(noise * rng.standard_normal(count))
    quality = outlet_quality(truth, pressure, flux, bore, length, cold)
    possible = (cold <= saturation(pressure).liquid_enthalpy - 80e3) & (quality >= 0.05) & (quality <= 0.95)
    drawn = np.column_stack([bore, length, pressure, flux, cold, measured])
    return np.asarray(drawn[possible & (measured >= 50)])


def in_si(
    table: Table, *, columns: Mapping[str, str] | None = None, units: Mapping[str, str] | None = None
) -> tuple[Floats, Floats]:
    """A table as rows of critical heat flux.

    Args:
        table: of any columns and units.
        columns: D, L, P, G, dh, chf -> the name of that column, where it is another.
        units: the same -> its unit (`SI` lists them), where the table does not say.

    Returns:
        (rows (rows, 5) in SI, heat flux (rows,) in kW/m2).

    Raises:
        ValueError: a column or its unit is missing, a unit is not known, or a value cannot be what its unit says.
    """
    found = _converted(table, tuple(SI), columns or {}, units or {})
    return np.column_stack(found[:-1]), found[-1]


def rows_in_si(
    table: Table, *, columns: Mapping[str, str] | None = None, units: Mapping[str, str] | None = None
) -> Floats:
    """The same without the heat flux, for rows to predict, (rows, 5)."""
    return np.column_stack(_converted(table, tuple(COLUMNS), columns or {}, units or {}))


def _converted(
    table: Table, letters: tuple[str, ...], columns: Mapping[str, str], units: Mapping[str, str]
) -> list[Floats]:
    unknown = sorted((set(columns) | set(units)) - set(SI))
    if unknown:
        raise ValueError(f"the columns are {', '.join(SI)}; there is no {plain(unknown[0])!r}")
    found = []
    for letter in letters:
        name = columns.get(letter, letter)
        values = table.column(name)
        unit = units.get(letter) or table.units.get(name)
        if unit is None:
            raise ValueError(
                f"say the unit of column {plain(name)!r}: --units {letter}=UNIT, one of {', '.join(SI[letter])}"
            )
        unit = unit.replace("²", "2").replace("^2", "2").replace("m2-s", "m2s").replace("m2/s", "m2s")
        if unit not in SI[letter]:
            raise ValueError(f"the unit of {letter} must be one of {', '.join(SI[letter])}, got {plain(unit)!r}")
        values = values * SI[letter][unit]
        if letter != "dh" and not (values > 0).all():
            raise ValueError(f"column {plain(name)!r} must be positive, but data row {int(values.argmin()) + 1} is not")
        hint = suspicious_unit(letter, values) if letter in COLUMNS else None
        if hint:
            raise ValueError(f"read as {unit}, {hint}; correct --units {letter}=UNIT")
        found.append(values)
    return found
