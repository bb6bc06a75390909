"""Properties of water and steam on the saturation line, from 0.1 to 20 MPa.

The table was computed with IAPWS-IF97; between its points stands a cubic spline in the logarithm of pressure, which
misses the enthalpy of evaporation by at most 8e-5 of its value.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

Floats = NDArray[np.float64]

LOWEST, HIGHEST = 0.1e6, 20e6  # Pa

# MPa, degrees Celsius, kJ/kg, kJ/kg, kg/m3, kg/m3
TABLE = """
.1 99.61 417.4 2674.9 958.64 .5903       .2 120.21 504.7 2706.2 942.94 1.1290     .3 133.53 561.5 2724.9 931.81 1.6507
.5 151.84 640.2 2748.1 915.28 2.6681     .7 164.95 697.1 2762.7 902.56 3.6662     1 179.89 762.7 2777.1 887.13 5.1454
1.5 198.30 844.7 2791.0 866.65 7.5929    2 212.38 908.6 2798.4 849.80 10.0421     3 233.86 1008.4 2803.3 821.89 15.0006
4 250.36 1087.4 2800.9 798.36 20.0898    5 263.94 1154.5 2794.2 777.36 25.3509    6 275.59 1213.7 2784.6 757.99 30.8179
7 285.83 1267.4 2772.6 739.72 36.5236    8 295.01 1317.1 2758.6 722.20 42.5034    9 303.35 1363.7 2742.9 705.16 48.7973
10 311.00 1407.9 2725.5 688.41 55.4521   11 318.08 1450.3 2706.4 671.80 62.5239   12 324.68 1491.3 2685.6 655.17 70.0822
13 330.86 1531.4 2662.9 638.37 78.2159   14 336.67 1570.9 2638.1 621.23 87.0408   15 342.16 1610.2 2610.9 603.51 96.7109
16 347.36 1649.7 2580.8 584.95 107.4330  17 352.29 1690.0 2547.4 565.18 119.4837  18 356.99 1732.0 2509.5 543.63
133.3570 19 361.47 1776.9 2465.4 519.36 149.8665  20 365.75 1827.1 2411.4 490.52 170.6987
"""


class Saturation(NamedTuple):
    """Water and steam in equilibrium, each the shape of the pressure.

    Args:
        temperature: degrees Celsius.
        liquid_enthalpy, steam_enthalpy, evaporation_enthalpy: J/kg; the last is their difference.
        liquid_density, steam_density: kg/m3.
    """

    temperature: Floats
    liquid_enthalpy: Floats
    steam_enthalpy: Floats
    evaporation_enthalpy: Floats
    liquid_density: Floats
    steam_density: Floats


def saturation(pressure: ArrayLike) -> Saturation:
    """Properties on the saturation line at a pressure in Pa.

    Raises:
        ValueError: a pressure outside 0.1 to 20 MPa, where the table ends.
    """
    pressure = np.asarray(pressure, dtype=np.float64)
    outside = ~((pressure >= LOWEST) & (pressure <= HIGHEST))
    if outside.any():
        worst = float(pressure[outside].flat[0])
        hint = "; the unit is Pa, is this MPa or kPa?" if 0 < worst < LOWEST else ""
        raise ValueError(
            f"pressure must lie in 0.1e6 to 20e6 Pa, where the saturation table ends, got {worst:g} "
            f"({int(outside.sum())} of {pressure.size} values){hint}"
        )
    found = _spline()(np.log(pressure))
    temperature, liquid, steam, liquid_density, steam_density = np.moveaxis(found, -1, 0)
    return Saturation(temperature, liquid * 1e3, steam * 1e3, (steam - liquid) * 1e3, liquid_density, steam_density)


@cache
def _spline() -> CubicSpline:
    table = np.array(TABLE.split(), dtype=np.float64).reshape(-1, 6)
    return CubicSpline(np.log(table[:, 0] * 1e6), table[:, 1:])
