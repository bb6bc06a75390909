import numpy as np
import pytest

from tameshi.tabular.lookup import FLUXES, PRESSURES, QUALITIES, GroeneveldTable

SHAPE = (15, 21, 23)


@pytest.fixture
def file(tmp_path):
    """A file of the public one's form with made-up values: pressure + flux + quality, scaled."""
    p, g, x = np.meshgrid(PRESSURES, FLUXES, QUALITIES, indexing="ij")
    values = np.round(p / 1e6 * 10 + g / 10 + (1 - x) * 100, 3)
    path = tmp_path / "lut.txt"
    lines = ["# Groeneveld 2006", *(" ".join(map(str, row)) for row in values.reshape(-1, 23))]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_node_returns_the_node(file):
    table = GroeneveldTable.read(file)
    assert table.values.shape == SHAPE
    for i, j, k in [(0, 0, 0), (7, 4, 10), (14, 20, 22)]:
        assert table(PRESSURES[i], FLUXES[j], 0.008, QUALITIES[k]) == pytest.approx(table.values[i, j, k])


def test_between_nodes_it_is_linear_and_other_bores_go_by_the_square_root(file):
    table = GroeneveldTable.read(file)
    middle = table(6e6, 1250.0, 0.008, 0.125)
    assert middle == pytest.approx(60 + 125 + 87.5, abs=1e-2)
    assert table(6e6, 1250.0, 0.032, 0.125) == pytest.approx(middle / 2)


def test_outside_the_grid_nothing_is_extrapolated(file):
    with pytest.raises(ValueError, match="outside the look-up table"):
        GroeneveldTable.read(file)(22e6, 1000, 0.008, 0.1)


def test_another_file_is_refused(tmp_path, file):
    cut = tmp_path / "cut.txt"
    cut.write_text("\n".join(file.read_text(encoding="utf-8").splitlines()[:100]), encoding="utf-8")
    with pytest.raises(ValueError, match="315 lines of 23 numbers, got 99"):
        GroeneveldTable.read(cut)
    with pytest.raises(ValueError, match="must have the shape"):
        GroeneveldTable(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="finite heat fluxes"):
        GroeneveldTable(np.full(SHAPE, np.nan))
