import numpy as np
import pytest

from tameshi.specimens.chf import BASE_UNITS, in_si
from tameshi.specimens.chf_files import load_chf
from tameshi.specimens.table import Table
from tameshi.tabular.heat_flux import outlet_quality

PUBLIC = (
    "Number,Reference ID,Tube Diameter,Heated Length,Pressure,Mass Flux,Outlet Quality,Inlet Subcooling,"
    "Inlet Temperature,CHF,\n-,-,m,m,kPa,kg/m2-s,-,kJ/kg,C,kW/m2\n"
    "1,7,0.008,1.0,10000,1000,0.4,300,250,1700\n2,7,0.008,1.5,10000,1000,0.4,-20,250,1500\n"
    "3,9,0.010,2.0,7000,2000,0.3,200,250,1900\n"
)


ZHAO = (
    "id,author,geometry,pressure [MPa],mass_flux [kg/m2-s],x_e_out [-],D_e [mm],D_h [mm],length [mm],chf_exp [MW/m2]\n"
    "1,Smith,tube,7.00,2000,0.1000,10.0,10.0,1000,3.5\n2,Smith,tube,10.00,1500,-0.0500,8.0,8.0,600,4.0\n"
    "3,Jones,annulus,7.00,2000,0.1000,10.0,20.0,1000,3.0\n4,Jones,tube,20.68,2000,0.1000,10.0,10.0,1000,1.5\n"
    "5,Jones,tube,0.10,0,0.2000,10.0,10.0,1000,1.0\n6,Jones,plate,0.10,500,0.0100,15.0,120.0,10,2.1\n"
)


def test_the_public_file_is_read_with_its_line_of_units(tmp_path):
    path = tmp_path / "chf_public.csv"
    path.write_text(PUBLIC, encoding="utf-8")
    X, y, references = load_chf(path)
    assert X[0].tolist() == [0.008, 1.0, 10e6, 1000, 300e3]
    assert X[1, 4] == -20e3, "steam at the inlet is allowed"
    assert y.tolist() == [1700, 1500, 1900]
    assert references == ["7", "7", "9"]
    table = Table.open(str(path))
    assert table.columns == tuple(BASE_UNITS)
    assert table.groups == ("7", "7", "9")
    rows, flux = in_si(table)
    assert np.array_equal(rows, X)
    assert np.array_equal(flux, y)


def test_a_line_that_is_not_numbers_is_named(tmp_path):
    path = tmp_path / "chf_public.csv"
    path.write_text(PUBLIC.replace("7000,2000", "7000,much"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 5 .* is not a row of numbers"):
        load_chf(path)
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"neither the columns .* NRC database nor"):
        load_chf(path)


def test_zhaos_file_gives_its_tubes_with_the_subcooling_of_the_heat_balance(tmp_path):
    path = tmp_path / "Data_CHF_Zhao_2020_ATE.csv"
    path.write_text(ZHAO, encoding="utf-8")
    X, y, references = load_chf(path)
    assert references == ["Smith", "Smith"], "no annulus, no plate, nothing above 20 MPa, nothing that stands still"
    np.testing.assert_allclose(X[:, :4], [[0.010, 1.0, 7e6, 2000], [0.008, 0.6, 10e6, 1500]])
    assert y.tolist() == [3500, 4000]
    assert X[0, 4] == pytest.approx(4 * 3.5e6 / (2000 * 0.010) - 0.1 * 1505.2e3, rel=1e-4)
    bore, length, pressure, flux, cold = X.T
    np.testing.assert_allclose(outlet_quality(y, pressure, flux, bore, length, cold), [0.1, -0.05], atol=1e-9)
    table = Table.open(str(path))
    assert table.units == BASE_UNITS
    assert table.groups == ("Smith", "Smith")
    assert np.array_equal(in_si(table)[0], X)


def test_a_line_of_zhaos_file_that_is_not_numbers_is_named(tmp_path):
    path = tmp_path / "zhao.csv"
    path.write_text(ZHAO.replace("8.0,8.0,600", "8.0,8.0,long"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 3 .* is not a row of numbers"):
        load_chf(path)
