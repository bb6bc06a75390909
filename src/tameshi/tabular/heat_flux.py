"""Critical heat flux of water in a uniformly heated tube: the correlations of Biasi (1967) and Bowring (1972).

Everything goes in as SI and comes out as kW/m2. Each correlation has a local form, which wants the quality x where
the crisis happens, and a form that wants what is known before the test: the heated length and the subcooling at the
inlet. The two are tied by the heat balance x = (4 L q / (G D) - subcooling) / h_fg. At a *measured* x the local forms
multiply the error of the measurement, so a model should stand on the heat-balance forms.

The formulas extend smoothly past the ranges they were fitted in; `in_range` says where they were fitted.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tameshi.tabular.steam import HIGHEST, LOWEST, saturation

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Correlation = Literal["biasi", "bowring"]

ATMOSPHERE = 101_325.0  # Pa in one ata as Biasi's coefficients want it; some books use 1 bar, 1.3 % apart
LOW_FLUX = 300.0  # kg/m2s; below it Biasi's high-quality branch holds alone

RANGES: dict[Correlation, dict[str, tuple[float, float]]] = {
    "biasi": {
        "diameter": (0.003, 0.0375),
        "length": (0.2, 6.0),
        "pressure": (0.27e6, 14e6),
        "mass_flux": (100.0, 6000.0),
    },
    "bowring": {
        "diameter": (0.002, 0.045),
        "length": (0.15, 3.7),
        "pressure": (0.2e6, 19e6),
        "mass_flux": (136.0, 18600.0),
    },
}
UNITS = {"diameter": "m", "length": "m", "pressure": "Pa", "mass_flux": "kg/m2s", "subcooling": "J/kg"}


def biasi(pressure: ArrayLike, mass_flux: ArrayLike, diameter: ArrayLike, quality: ArrayLike) -> Floats:
    """Biasi's critical heat flux at a local quality: the larger of two branches.

    Args:
        pressure: Pa. mass_flux: kg/m2s. diameter: m, of the tube. quality: steam by mass, where the crisis happens.

    Returns:
        kW/m2, in the broadcast shape. At high quality and low flux it can be negative: there is no crisis to predict.

    Raises:
        ValueError: a pressure, flux or diameter that is not positive and finite.
    """
    low, high = biasi_branches(pressure, mass_flux, diameter, quality)
    return np.where(np.asarray(mass_flux) < LOW_FLUX, high, np.maximum(low, high))


def biasi_branches(
    pressure: ArrayLike, mass_flux: ArrayLike, diameter: ArrayLike, quality: ArrayLike
) -> tuple[Floats, Floats]:
    """Biasi's (low-quality, high-quality) branch, kW/m2; arguments as in `biasi`."""
    slope_low, root_low, slope_high = _biasi(pressure, mass_flux, diameter)
    x = np.asarray(quality, dtype=np.float64)
    return slope_low * (root_low - x) / 1e3, slope_high * (1 - x) / 1e3


def biasi_heat_balance(
    pressure: ArrayLike,
    mass_flux: ArrayLike,
    diameter: ArrayLike,
    length: ArrayLike,
    subcooling: ArrayLike,
    *,
    evaporation: ArrayLike | None = None,
) -> Floats:
    """Biasi's critical heat flux at the outlet of a tube, from what is known at its inlet.

    Each branch is q = a (f - x), linear in x, and x is linear in q, so q = a (f + subcooling / h_fg) / (1 + a k) with
    k = 4 L / (G D h_fg); the fixed point of the larger branch is the larger of the two.

    Args:
        pressure: Pa. mass_flux: kg/m2s. diameter, length: m. subcooling: J/kg below saturation at the inlet; negative
            where steam enters.

    Returns:
        kW/m2.

    Raises:
        ValueError: as `biasi`, or a pressure off the saturation table.
    """
    slope_low, root_low, slope_high = _biasi(pressure, mass_flux, diameter)
    evaporation = _evaporation(pressure, evaporation)
    gain = 4 * _positive("length", length) / (_positive("mass_flux", mass_flux) * _positive("diameter", diameter))
    gain = gain / evaporation
    cold = _finite("subcooling", subcooling) / evaporation
    low = slope_low * (root_low + cold) / (1 + slope_low * gain)
    high = slope_high * (1 + cold) / (1 + slope_high * gain)
    return np.where(np.asarray(mass_flux) < LOW_FLUX, high, np.maximum(low, high)) / 1e3


def bowring_local(
    pressure: ArrayLike,
    mass_flux: ArrayLike,
    diameter: ArrayLike,
    quality: ArrayLike,
    *,
    evaporation: ArrayLike | None = None,
) -> Floats:
    """Bowring's critical heat flux at a local quality, kW/m2: (A - B h_fg x) / C; arguments as in `biasi`."""
    evaporation = _evaporation(pressure, evaporation)
    a, b, c = bowring_terms(pressure, mass_flux, diameter, evaporation=evaporation)
    return (a - b * evaporation * np.asarray(quality, dtype=np.float64)) / c / 1e3


def bowring_inlet(
    pressure: ArrayLike,
    mass_flux: ArrayLike,
    diameter: ArrayLike,
    length: ArrayLike,
    subcooling: ArrayLike,
    *,
    evaporation: ArrayLike | None = None,
) -> Floats:
    """Bowring's critical heat flux from the inlet, kW/m2: (A + B subcooling) / (C + L); as `biasi_heat_balance`."""
    a, b, c = bowring_terms(pressure, mass_flux, diameter, evaporation=evaporation)
    return (a + b * _finite("subcooling", subcooling)) / (c + _positive("length", length)) / 1e3


def bowring_terms(
    pressure: ArrayLike, mass_flux: ArrayLike, diameter: ArrayLike, *, evaporation: ArrayLike | None = None
) -> tuple[Floats, Floats, Floats]:
    """Bowring's A (W/m), B (kg/ms) and C (m)."""
    pressure, flux = _positive("pressure", pressure), _positive("mass_flux", mass_flux)
    diameter = _positive("diameter", diameter)
    evaporation = _evaporation(pressure, evaporation)
    f1, f2, f3, f4, power = bowring_factors(pressure)
    b = diameter * flux / 4
    a = 2.317 * evaporation * b * f1 / (1 + 0.0143 * f2 * np.sqrt(diameter) * flux)
    c = 0.077 * f3 * diameter * flux / (1 + 0.347 * f4 * (flux / 1356) ** power)
    return a, b, c


def bowring_factors(pressure: ArrayLike) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Bowring's F1, F2, F3, F4 and n at a pressure in Pa; the two sides of p_r = 0.145 P/MPa = 1 meet there."""
    reduced = 0.145e-6 * _positive("pressure", pressure)
    below, above = np.minimum(reduced, 1.0), np.maximum(reduced, 1.0)
    rest, past = 1 - below, 1 - above
    under = reduced < 1
    f1_low = (below**18.942 * np.exp(20.89 * rest) + 0.917) / 1.917
    f1_high = above**-0.368 * np.exp(0.648 * past)
    f2_low = f1_low / ((below**1.316 * np.exp(2.444 * rest) + 0.309) / 1.309)
    f2_high = f1_high / (above**-0.448 * np.exp(0.245 * past))
    f3 = np.where(under, (below**17.023 * np.exp(16.658 * rest) + 0.667) / 1.667, above**0.219)
    f4 = f3 * reduced**1.649
    return np.where(under, f1_low, f1_high), np.where(under, f2_low, f2_high), f3, f4, 2 - 0.5 * reduced


def outlet_quality(
    heat_flux: ArrayLike,
    pressure: ArrayLike,
    mass_flux: ArrayLike,
    diameter: ArrayLike,
    length: ArrayLike,
    subcooling: ArrayLike,
    *,
    evaporation: ArrayLike | None = None,
) -> Floats:
    """Quality at the outlet by the heat balance, for a heat flux in kW/m2; above 1 the water is gone before it."""
    flux, diameter = _positive("mass_flux", mass_flux), _positive("diameter", diameter)
    heat = 4e3 * _positive("length", length) * np.asarray(heat_flux, dtype=np.float64) / (flux * diameter)
    return np.asarray((heat - _finite("subcooling", subcooling)) / _evaporation(pressure, evaporation))


def in_range(correlation: Correlation, **values: ArrayLike) -> Flags:
    """Where a correlation was fitted.

    Args:
        correlation: "biasi" or "bowring".
        values: any of diameter, length (m), pressure (Pa), mass_flux (kg/m2s), and for Biasi quality. His quality
            begins at 1 / (1 + rho_f / rho_g), so it needs the pressure beside it.

    Returns:
        The broadcast shape; False also where a value is NaN, or the pressure off the saturation table.

    Raises:
        ValueError: an unknown correlation or value.
    """
    if correlation not in RANGES:
        raise ValueError(f"correlation must be one of {', '.join(RANGES)}, got {correlation!r}")
    ranges = RANGES[correlation]
    known = {*ranges, "quality"} if correlation == "biasi" else set(ranges)
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{correlation} has a range for {', '.join(sorted(known))}, not for {', '.join(unknown)}")
    found = np.ones(np.broadcast_shapes(*(np.shape(v) for v in values.values())), dtype=np.bool_)
    for name, (low, high) in ranges.items():
        if name in values:
            value = np.asarray(values[name], dtype=np.float64)
            found = found & (value >= low) & (value <= high)
    if "quality" in values:
        if "pressure" not in values:
            raise ValueError("the range of quality depends on pressure; pass pressure as well")
        pressure, quality = np.asarray(values["pressure"], np.float64), np.asarray(values["quality"], np.float64)
        steam = saturation(np.clip(np.nan_to_num(pressure, nan=LOWEST), LOWEST, HIGHEST))
        lowest = 1 / (1 + steam.liquid_density / steam.steam_density)
        found = found & (quality >= lowest) & (quality <= 1)
    return found


def _biasi(pressure: ArrayLike, mass_flux: ArrayLike, diameter: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Biasi's branches as lines in x: q_low = slope (root - x), q_high = slope (1 - x), in W/m2."""
    f, h = biasi_factors(pressure)
    g = _positive("mass_flux", mass_flux) / 10  # g/cm2s
    bore = 100 * _positive("diameter", diameter)  # cm
    bore = bore ** np.where(bore >= 1, 0.4, 0.6)
    sixth = g ** (1 / 6)  # divides, in both places: a public copy multiplies
    return 18_830e3 / (bore * sixth), f / sixth, 37_800e3 * h / (bore * g**0.6)


def biasi_factors(pressure: ArrayLike) -> tuple[Floats, Floats]:
    """Biasi's F and H at a pressure in Pa. H turns negative near 20 MPa, past his range; it is held at 0 there."""
    p = _positive("pressure", pressure) / ATMOSPHERE
    f = 0.7249 + 0.099 * p * np.exp(-0.032 * p)
    h = -1.159 + 0.149 * p * np.exp(-0.019 * p) + 8.99 * p / (10 + p**2)
    return f, np.maximum(h, 0.0)


def _evaporation(pressure: ArrayLike, given: ArrayLike | None) -> Floats:
    return saturation(pressure).evaporation_enthalpy if given is None else np.asarray(given, dtype=np.float64)


def _positive(name: str, values: ArrayLike) -> Floats:
    found = _finite(name, values)
    if not np.all(found > 0):
        worst = found[~(found > 0)].flat[0]
        raise ValueError(f"{name} must be positive, in {UNITS[name]}, got {worst:g}")
    return found


def _finite(name: str, values: ArrayLike) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite, in {UNITS[name]}, got {found[~np.isfinite(found)].flat[0]}")
    return found
