"""The 2006 look-up table of critical heat flux (Groeneveld et al. 2007), read from the public text file, never shipped.

315 lines of 23 heat fluxes in kW/m2, for a tube of 8 mm: 15 pressures, in each block 21 mass fluxes, in each line 23
qualities.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RegularGridInterpolator

Floats = NDArray[np.float64]

PRESSURES = np.array([0.1, 0.3, 0.5, 1, 2, 3, 5, 7, 10, 12, 14, 16, 18, 20, 21]) * 1e6  # Pa
FLUXES = np.array([0, 50, 100, 300, 500, 750, 1000, *range(1500, 8001, 500)], dtype=np.float64)  # kg/m2s
QUALITIES = np.array([-0.5, -0.4, -0.3, -0.2, -0.15, *(np.arange(-2, 11) * 0.05), 0.6, 0.7, 0.8, 0.9, 1.0])


class GroeneveldTable:
    """Critical heat flux by trilinear interpolation in pressure, mass flux and quality.

    Args:
        values: (15, 21, 23), kW/m2, on the grid PRESSURES x FLUXES x QUALITIES.

    Raises:
        ValueError: another shape, or a value that is negative or not finite.
    """

    def __init__(self, values: ArrayLike) -> None:
        table = np.asarray(values, dtype=np.float64)
        shape = (len(PRESSURES), len(FLUXES), len(QUALITIES))
        if table.shape != shape:
            raise ValueError(f"the look-up table must have the shape {shape}, got {table.shape}")
        if not (np.isfinite(table).all() and (table >= 0).all()):
            raise ValueError("the look-up table must hold finite heat fluxes of at least 0")
        self.values = table
        self._between = RegularGridInterpolator((PRESSURES, FLUXES, QUALITIES), table)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read the text file: 315 lines of 23 numbers, apart from lines that are not numbers (headings)."""
        rows = []
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                numbers = [float(word) for word in line.replace(",", " ").split()]
            except ValueError:
                continue
            if numbers:
                rows.append(numbers)
        lines = len(PRESSURES) * len(FLUXES)
        if len(rows) != lines or {len(row) for row in rows} != {len(QUALITIES)}:
            widths = sorted({len(row) for row in rows})
            raise ValueError(f"{path} must hold {lines} lines of {len(QUALITIES)} numbers, got {len(rows)} of {widths}")
        return cls(np.array(rows).reshape(len(PRESSURES), len(FLUXES), len(QUALITIES)))

    def __call__(self, pressure: ArrayLike, mass_flux: ArrayLike, diameter: ArrayLike, quality: ArrayLike) -> Floats:
        """kW/m2 at Pa, kg/m2s, m and quality; other bores than 8 mm by (8 mm / D)^0.5, as the table's authors advise.

        Raises:
            ValueError: outside the grid; nothing is extrapolated.
        """
        point = np.broadcast_arrays(pressure, mass_flux, quality)
        try:
            found = self._between(np.stack([np.asarray(v, dtype=np.float64) for v in point], axis=-1))
        except ValueError as error:
            raise ValueError(
                "a point lies outside the look-up table, which covers 0.1e6 to 21e6 Pa, 0 to 8000 kg/m2s "
                "and qualities of -0.5 to 1"
            ) from error
        return np.asarray(found * np.sqrt(0.008 / np.asarray(diameter, dtype=np.float64)))
