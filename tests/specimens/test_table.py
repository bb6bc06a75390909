import numpy as np
import pandas
import pytest

from tameshi.specimens.table import SPECIMENS, Table


@pytest.fixture
def write(tmp_path):
    def made(text: str, name: str = "table.csv") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return made


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimen_is_the_same_every_time_and_knows_its_target(name):
    table, again = Table.open(f"specimen:{name}"), Table.open(f"specimen:{name}")
    assert table.fingerprint == again.fingerprint
    assert np.array_equal(table.values, again.values)
    X, y = table.xy()
    assert X.shape == (len(table.values), len(table.columns) - 1)
    assert np.array_equal(y, table.column(table.columns[-1]))
    if table.truth is not None:
        assert (y - table.truth).std() == pytest.approx(0.1 * table.truth.std(), rel=0.05)


def test_a_csv_with_a_target_in_the_middle(write):
    table = Table.open(write("a,y,b\n1,10,2\n3,30,4.5\n"))
    X, y = table.xy("y")
    assert X.tolist() == [[1, 2], [3, 4.5]]
    assert y.tolist() == [10, 30]
    assert table.target is None


def test_csv_and_parquet_hold_the_same(tmp_path, write):
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})
    frame.to_parquet(tmp_path / "t.parquet")
    csv, parquet = Table.open(write(frame.to_csv(index=False))), Table.open(str(tmp_path / "t.parquet"))
    assert np.array_equal(csv.values, parquet.values)
    assert csv.columns == parquet.columns
    assert csv.fingerprint != parquet.fingerprint, "the fingerprint is that of the file"


def test_a_line_of_units_under_the_header_is_kept_as_units(write):
    table = Table.open(write("D,P\nm,kPa\n0.01,7000\n0.02,8000\n"))
    assert table.units == {"D": "m", "P": "kPa"}
    assert table.values.tolist() == [[0.01, 7000], [0.02, 8000]]


def test_a_series_becomes_rows_of_what_came_before(write):
    X, y = Table.open(write("v\n" + "\n".join("123456"))).lagged("v", 3)
    assert X.tolist() == [[1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert y.tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,x\n2,y\n", "column 'b' .* is not numbers .*'x'"),
        ("a,b\n1,2\n2,\n", "column 'b' .* missing or not finite in data row 2"),
        ("a,b\n1,inf\n2,3\n", "column 'b' .* missing or not finite in data row 1"),
        ("a,b\n1,2\n", "at least two rows"),
        ("", "does not read as CSV"),
        ("a,b\n1,2,3\n4\n1,2,3,4,5\n", "does not read as CSV"),
        ("a,b\n1,\x1b[31mred\n2,3\n", r"\\u001b\[31mred"),
    ],
)
def test_a_file_that_is_no_table_of_numbers_is_refused(write, text, says):
    with pytest.raises(ValueError, match=says):
        Table.open(write(text))


def test_what_is_not_there_is_named(write, tmp_path):
    with pytest.raises(ValueError, match="there is no specimen table 'iris'; there are specimen:chf"):
        Table.open("specimen:iris")
    with pytest.raises(ValueError, match="does not exist"):
        Table.open(str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match=r"a .csv or .parquet file"):
        Table.open(str(tmp_path / "model.pkl"))
    table = Table.open(write("a,b\n1,2\n2,3\n"))
    with pytest.raises(ValueError, match=r"name the target column .* it has a, b"):
        table.xy()
    with pytest.raises(ValueError, match="has no column 'c'; it has a, b"):
        table.xy("c")
    with pytest.raises(ValueError, match="lags must be at least 1"):
        table.lagged("a", 3)


def test_a_cut_parquet_file_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pandas.DataFrame({"a": range(100), "b": range(100)}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="does not read as Parquet"):
        Table.open(str(path))
