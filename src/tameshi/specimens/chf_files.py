"""Public files of measured critical heat flux, read where the user has them. None is shipped.

Two files are known by their headers: the NRC database as the OECD/NEA benchmark hands it out (24,579 points in tubes), and the
collection of Zhao et al. 2020 (1,865 points in tubes, annuli and plates; doi 10.1016/j.applthermaleng.2019.114540).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tameshi.doors.screen import plain
from tameshi.tabular.chf import COLUMNS
from tameshi.tabular.steam import HIGHEST, LOWEST, saturation

Floats = NDArray[np.float64]
Columns = Mapping[str, tuple[str, float]]

NRC: Columns = {
    "Tube Diameter": ("D", 1.0),
    "Heated Length": ("L", 1.0),
    "Pressure": ("P", 1e3),  # kPa
    "Mass Flux": ("G", 1.0),
    "Inlet Subcooling": ("dh", 1e3),  # kJ/kg
    "CHF": ("chf", 1.0),
}
"""Column -> what it is here, and what its unit is multiplied with. A line of units follows the header."""

ZHAO: Columns = {
    "D_e [mm]": ("D", 1e-3),
    "length [mm]": ("L", 1e-3),
    "pressure [MPa]": ("P", 1e6),
    "mass_flux [kg/m2-s]": ("G", 1.0),
    "x_e_out [-]": ("x", 1.0),
    "chf_exp [MW/m2]": ("chf", 1e3),
}


def is_public(path: Path) -> bool:
    """Whether a CSV has the header of one of the public files."""
    header = _header(path)
    return header >= {*NRC, "Reference ID"} or header >= {*ZHAO, "geometry", "author"}


def load_chf(path: str | Path) -> tuple[Floats, Floats, list[str]]:
    """Read the CSV of the NRC database, or that of Zhao et al. 2020.

    Of Zhao's file the tubes are kept (the correlations are for tubes) whose pressure the saturation table covers and through
    which water flows. It says the quality at the outlet in the place of the subcooling, which the heat balance gives back.

    Returns:
        (rows (rows, 5) in SI, heat flux (rows,) in kW/m2, the reference each point comes from). Points of one reference come
        from one rig, so a random split leaks; split by reference.

    Raises:
        ValueError: another header, or a line that is not numbers; names the line.
    """
    path = Path(path)
    if not is_public(path):
        raise ValueError(
            f"{plain(path)} has neither the columns {', '.join(NRC)} of the NRC database nor {', '.join(ZHAO)} of Zhao 2020"
        )
    zhao = _header(path) >= set(ZHAO)
    lines = list(_lines(path, ZHAO if zhao else NRC, after=0 if zhao else 1))
    kept = [(values, line) for values, line in lines if not zhao or _usable(values, line)]
    if not kept or not all(np.isfinite(list(values.values())).all() for values, _ in kept):
        raise ValueError(f"{plain(path)} holds no data rows, or values that are not finite")
    found = {letter: np.array([values[letter] for values, _ in kept]) for letter in kept[0][0]}
    if zhao:
        found["dh"] = _subcooling(found)
    references = [line["author" if zhao else "Reference ID"].strip() for _, line in kept]
    return np.column_stack([found[letter] for letter in COLUMNS]), found["chf"], references


def _header(path: Path) -> set[str]:
    with path.open(encoding="utf-8-sig", newline="") as opened:
        return {name.strip() for name in next(csv.reader(opened), [])}


def _lines(path: Path, columns: Columns, *, after: int) -> Iterator[tuple[dict[str, float], dict[str, str]]]:
    """The numbers of every line that is not empty, and its cells by their column; `after` lines of units are passed over."""
    with path.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.reader(opened)
        header = [name.strip() for name in next(reader)]
        for number, cells in enumerate(reader, start=2):
            if number < 2 + after or not any(cell.strip() for cell in cells):
                continue
            line = dict(zip(header, cells, strict=False))  # lines of the NRC file are one cell short
            try:
                yield {letter: float(line[name]) * factor for name, (letter, factor) in columns.items()}, line
            except (ValueError, KeyError):
                raise ValueError(f"line {number} of {plain(path)} is not a row of numbers") from None


def _usable(values: Mapping[str, float], line: Mapping[str, str]) -> bool:
    return line["geometry"].strip() == "tube" and LOWEST <= values["P"] <= HIGHEST and values["G"] > 0


def _subcooling(found: Mapping[str, Floats]) -> Floats:
    """4 L q / (G D) - x h_fg, J/kg: what the water lacked at the inlet to leave with quality x."""
    heated = 4 * found["L"] * 1e3 * found["chf"] / (found["G"] * found["D"])
    return np.asarray(heated - found["x"] * saturation(found["P"]).evaporation_enthalpy)
