import numpy as np
import pytest

from tameshi.tabular import heat_flux
from tameshi.tabular.heat_flux import (
    ATMOSPHERE,
    biasi,
    biasi_branches,
    biasi_factors,
    biasi_heat_balance,
    bowring_factors,
    bowring_inlet,
    bowring_local,
    bowring_terms,
    in_range,
    outlet_quality,
)
from tameshi.tabular.steam import saturation

# Worked by hand: MPa, kg/m2s, m, m, quality, J/kg, J/kg -> kW/m2
WORKED = [
    {
        "at": (7, 2000, 0.010, 2, 0.3, 200e3, 1505.1e3),
        "branches": (2412.247, 1917.707),
        "biasi": 2412.247,
        "biasi_factors": (1.474653, 1.741047),
        "bowring_factors": (0.984916, 0.995158, 1.003266, 1.028202, 1.4925),
        "terms": (4.465131e6, 0.943684),
        "bowring": (2339.216, 1856.562),
        "heat_balance": 1884.063,
    },
    {
        "at": (10, 1000, 0.008, 1, 0.5, 300e3, 1317.4e3),
        "branches": (292.058, 1617.969),
        "biasi": 1617.969,
        "biasi_factors": (1.140188, 1.186759),
        "bowring_factors": (0.651593, 0.859311, 1.084775, 2.001868, 1.275),
        "terms": (1.895047e6, 0.454225),
        "bowring": (1271.719, 1715.722),
        "heat_balance": 1783.015,
    },
    {
        "at": (5, 200, 0.010, 2, 0.7, 100e3, 1639.6e3),
        "branches": (4015.075, 3573.530),
        "biasi": 3573.530,  # the lower branch: the flux is below 300
        "biasi_factors": (1.732073, 1.901526),
        "bowring_factors": (0.847171, 0.696746, 0.645636, 0.379914, 1.6375),
        "terms": (1.341801e6, 0.098861),
        "bowring": (7767.929, 663.122),
        "heat_balance": 420.432,
    },
    {
        "at": (14, 3500, 0.012, 3, 0.2, 150e3, 1066.9e3),
        "branches": (890.137, 332.128),
        "biasi": 890.137,
        "biasi_factors": (0.889280, 0.397042),
        "bowring_factors": (0.395345, 0.698761, 1.167728, 3.753208, 0.985),
        "terms": (2.124072e6, 0.875373),
        "bowring": (-132.992, 954.507),
        "heat_balance": 1133.832,
    },
]


def printed(*values, digits=None):
    """Tolerance of numbers given to so many figures: half a unit of the last one, or 1e-6, whichever is wider."""
    return [pytest.approx(v, rel=1e-6, abs=0.51 * 10.0 ** -(digits if digits is not None else 6)) for v in values]


@pytest.mark.parametrize("row", WORKED, ids=lambda row: f"{row['at'][0]}-MPa")
def test_the_worked_numbers(row):
    pressure, flux, bore, length, quality, cold, h_fg = row["at"]
    place = (pressure * 1e6, flux, bore)
    assert list(biasi_branches(*place, quality)) == printed(*row["branches"], digits=3)
    assert biasi(*place, quality) == printed(row["biasi"], digits=3)[0]
    assert list(biasi_factors(place[0])) == printed(*row["biasi_factors"])
    assert list(bowring_factors(place[0])) == printed(*row["bowring_factors"])
    a, b, c = bowring_terms(*place, evaporation=h_fg)
    assert [a, c] == [pytest.approx(row["terms"][0], rel=1e-6), printed(row["terms"][1])[0]]
    assert b == pytest.approx(bore * flux / 4)
    assert bowring_local(*place, quality, evaporation=h_fg) == printed(row["bowring"][0], digits=3)[0]
    assert bowring_inlet(*place, length, cold, evaporation=h_fg) == printed(row["bowring"][1], digits=3)[0]
    assert biasi_heat_balance(*place, length, cold, evaporation=h_fg) == printed(row["heat_balance"], digits=3)[0]


@pytest.mark.parametrize("row", WORKED, ids=lambda row: f"{row['at'][0]}-MPa")
def test_the_book_s_other_form_of_biasi_agrees(row):
    """The SI form of the handbooks, with rounded coefficients (2.764e7, 1.468, 15.048e7), here as a second source."""
    pressure, flux, bore, _, quality, _, _ = row["at"]
    f, h = biasi_factors(pressure * 1e6)
    n = 0.4 if bore >= 0.01 else 0.6
    low = 2.764e7 * (100 * bore) ** -n * flux ** (-1 / 6) * (1.468 * f * flux ** (-1 / 6) - quality) / 1e3
    high = 15.048e7 * (100 * bore) ** -n * flux**-0.6 * h * (1 - quality) / 1e3
    assert list(biasi_branches(pressure * 1e6, flux, bore, quality)) == pytest.approx([low, high], rel=5e-3)


def test_multiplying_by_the_sixth_root_of_the_flux_would_be_seen():
    """A public copy multiplies with G^(1/6) where Biasi divides: six times too much here."""
    pressure, flux, bore, _, quality, _, _ = WORKED[0]["at"]
    f, _ = biasi_factors(pressure * 1e6)
    sixth = (flux / 10) ** (1 / 6)
    wrong = 1883 / (100 * bore) ** 0.4 * sixth * (f / sixth - quality) * 10
    right = biasi_branches(pressure * 1e6, flux, bore, quality)[0]
    assert right == pytest.approx(WORKED[0]["branches"][0], rel=1e-6)
    assert wrong > 5 * right


def test_bowring_at_the_quality_of_its_inlet_form_is_its_inlet_form():
    pressure, flux, bore, length, _, cold, h_fg = WORKED[0]["at"]
    place = (pressure * 1e6, flux, bore)
    q = bowring_inlet(*place, length, cold, evaporation=h_fg)
    x = outlet_quality(q, *place, length, cold, evaporation=h_fg)
    assert x == pytest.approx(0.360524, abs=1e-6)
    assert bowring_local(*place, x, evaporation=h_fg) == pytest.approx(q, rel=1e-12)


def test_biasi_at_its_own_heat_balance_quality_reproduces_itself():
    rng = np.random.default_rng(0)
    pressure, flux = rng.uniform(0.3e6, 14e6, 500), rng.uniform(100, 6000, 500)
    bore, length, cold = rng.uniform(0.003, 0.0375, 500), rng.uniform(0.2, 6, 500), rng.uniform(-1e5, 9e5, 500)
    q = biasi_heat_balance(pressure, flux, bore, length, cold)
    x = outlet_quality(q, pressure, flux, bore, length, cold)
    np.testing.assert_allclose(biasi(pressure, flux, bore, x), q, rtol=1e-9)


def test_both_sides_of_bowring_meet_at_a_reduced_pressure_of_one():
    edge = 1 / 0.145e-6
    for below, above in zip(bowring_factors(edge * (1 - 1e-9)), bowring_factors(edge * (1 + 1e-9)), strict=True):
        assert below == pytest.approx(above, rel=1e-6)
    assert bowring_factors(edge)[0] == pytest.approx(1.0)


def test_arrays_give_what_single_points_give():
    at = np.array([row["at"][:4] for row in WORKED])
    together = biasi_heat_balance(at[:, 0] * 1e6, at[:, 1], at[:, 2], at[:, 3], 2e5)
    alone = [biasi_heat_balance(p * 1e6, g, d, length, 2e5) for p, g, d, length in at]
    assert together.tolist() == alone
    assert together.dtype == np.float64


def test_the_saturation_table_gives_its_own_points_and_steam_at_seven_megapascal():
    steam = saturation([0.1e6, 7e6, 20e6])
    assert steam.temperature == pytest.approx([99.61, 285.83, 365.75])
    assert steam.evaporation_enthalpy == pytest.approx([2257.5e3, 1505.2e3, 584.3e3])
    assert saturation(7.5e6).evaporation_enthalpy == pytest.approx(1473.0e3, rel=1e-3)
    assert np.all(np.diff(saturation(np.linspace(0.1e6, 20e6, 999)).evaporation_enthalpy) < 0)


def test_ranges_are_those_of_the_authors():
    assert in_range("biasi", diameter=0.008, length=2, pressure=7e6, mass_flux=2000)
    assert in_range("biasi", length=[0.1, 0.2, 6.0, 6.1]).tolist() == [False, True, True, False]
    assert in_range("bowring", pressure=[0.1e6, 0.2e6, 19e6, 20e6]).tolist() == [False, True, True, False]
    assert in_range("bowring", mass_flux=[135, 136, 18600, 18700]).tolist() == [False, True, True, False]
    assert not in_range("bowring", mass_flux=np.nan)
    steam = saturation(7e6)
    lowest = 1 / (1 + steam.liquid_density / steam.steam_density)
    quality = [lowest - 1e-9, lowest + 1e-9, 1.0, 1.01]
    assert in_range("biasi", pressure=7e6, quality=quality).tolist() == [False, True, True, False]


def test_biasi_stays_finite_where_its_high_quality_branch_would_turn_round():
    assert biasi_factors(21.9e6)[1] == 0
    assert np.isfinite(biasi(21.9e6, 2000, 0.01, 0.2))
    assert ATMOSPHERE == 101_325


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: biasi(7e6, -1, 0.01, 0.3), "mass_flux must be positive, in kg/m2s, got -1"),
        (lambda: biasi(7e6, 2000, [0.01, 0.0], 0.3), "diameter must be positive, in m, got 0"),
        (lambda: biasi(np.nan, 2000, 0.01, 0.3), "pressure must be finite, in Pa, got nan"),
        (lambda: bowring_inlet(7e6, 2000, 0.01, 2, np.inf), "subcooling must be finite, in J/kg, got inf"),
        (lambda: bowring_inlet(7000, 2000, 0.01, 2, 2e5), "unit is Pa, is this MPa or kPa"),
        (lambda: bowring_inlet(21e6, 2000, 0.01, 2, 2e5), "0.1e6 to 20e6 Pa"),
        (lambda: in_range("katto", pressure=7e6), "correlation must be one of biasi, bowring"),
        (lambda: in_range("bowring", quality=0.3), "not for quality"),
        (lambda: in_range("biasi", quality=0.3), "pass pressure as well"),
    ],
)
def test_what_has_no_answer_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_every_quantity_has_a_unit_and_a_range():
    for ranges in heat_flux.RANGES.values():
        assert set(ranges) <= set(heat_flux.UNITS)
