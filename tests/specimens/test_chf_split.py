import numpy as np
import pytest

from tameshi.specimens.chf import BASE_UNITS, make_chf
from tameshi.specimens.chf_split import HELD, split
from tameshi.specimens.table import Table
from tameshi.tabular.heat_flux import outlet_quality
from tameshi.tabular.steam import saturation


def table(rows: int, seed: int = 2, groups: tuple[str, ...] = ()) -> Table:
    X, y = make_chf(rows, seed=seed)
    return Table("t", "0", tuple(BASE_UNITS), np.c_[X, y], groups=groups, units=dict(BASE_UNITS))


def test_a_split_holds_points_in_both_ranges_that_of_quality_among_them():
    drawn = split(table(800), {}, {}, "point", 300, 1000, 0)
    assert len(drawn.train[1]) == 300
    assert len(drawn.held[1]) == HELD
    X, y = (np.concatenate(parts) for parts in zip(drawn.train, drawn.held, drawn.test, strict=True))
    bore, length, pressure, flux, cold = X.T
    quality, steam = outlet_quality(y, pressure, flux, bore, length, cold), saturation(pressure)
    assert np.all(quality >= 1 / (1 + steam.liquid_density / steam.steam_density))
    assert np.all(quality <= 1)
    assert 700 < len(y) < 800, "some of the generator's points lie below Biasi's quality"


def test_a_split_by_reference_keeps_a_rig_on_one_side():
    X, y = make_chf(800, seed=2)
    groups = tuple(f"rig{i % 40}" for i in range(800))
    table = Table("t", "0", tuple(BASE_UNITS), np.c_[X, y], groups=groups, units=BASE_UNITS)
    drawn = split(table, {}, {}, "reference", 300, 1000, 0)
    where = {tuple(row): group for row, group in zip(X.tolist(), groups, strict=True)}
    train = {where[tuple(row)] for row in drawn.train[0].tolist()}
    assert len(train & set(drawn.groups)) <= 1, "the one rig on the border"
    with pytest.raises(ValueError, match="use --split-by point"):
        split(Table.open("specimen:chf"), {}, {}, "reference", 300, 1000, 0)
    with pytest.raises(ValueError, match="for training need at least"):
        split(table, {}, {}, "point", 700, 1000, 0)
