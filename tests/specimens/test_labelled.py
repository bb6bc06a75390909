import numpy as np
import pandas as pd
import pytest

from tameshi.specimens.labelled import Labelled


def test_the_digits_have_two_usual_pairs():
    digits = Labelled.open("specimen:digits")
    assert digits.usual_pairs() == ("3-8", "1-7")
    examples = digits.pair("3-8")
    assert examples.inputs.shape[1] == 64
    assert set(examples.labels) == {"3", "8"}
    assert examples.inputs.mean(axis=0) == pytest.approx(np.zeros(64), abs=1e-12)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_read_with_its_target_and_agents(tmp_path, suffix):
    frame = pd.DataFrame(
        {"a": [1.0, 2, 3, 4], "b": [0, 1, 0, 1], "y": ["no", "yes", "no", "yes"], "site": ["x", "x", "z", "z"]}
    )
    path = tmp_path / f"t.{suffix}"
    (frame.to_csv if suffix == "csv" else frame.to_parquet)(path, index=False)
    table = Labelled.open(str(path))
    examples = table.examples("y", "site")
    assert examples.inputs.shape == (4, 2)
    assert examples.owners.tolist() == [0, 0, 1, 1]
    assert table.usual_pairs("y") == ("no-yes",)
    assert table.pair("no-yes", "y", "site").owners.tolist() == [0, 0, 1, 1]


def test_an_npz_is_read(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.ones((4, 2)), y=np.array([0, 1, 0, 1]), site=np.array([0, 0, 1, 1]))
    table = Labelled.open(str(tmp_path / "t.npz"))
    assert table.examples("label", "site").inputs.shape == (4, 2)
    assert table.fingerprint == Labelled.open(str(tmp_path / "t.npz")).fingerprint


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda t: t.examples("z"), r"no column 'z' \(it has a, word, y\); name one with --target"),
        (lambda t: t.examples("y", "z"), "name one with --agents"),
        (lambda t: t.examples("a"), "column 'word' .* holds no numbers"),
        (lambda t: t.examples("word"), "column 'a' .* missing or infinite"),
        (lambda t: t.pair("1", "word"), "holds missing or infinite|written like"),
    ],
)
def test_columns_that_cannot_be_used_are_named(tmp_path, act, message):
    pd.DataFrame({"a": [1.0, np.nan], "word": ["u", "v"], "y": [0, 1]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match=message):
        act(Labelled.open(str(tmp_path / "t.csv")))


def test_pairs_that_are_none_are_refused():
    digits = Labelled.open("specimen:digits")
    with pytest.raises(ValueError, match="written like 3-8"):
        digits.pair("3")
    with pytest.raises(ValueError, match="no example of class 'x'"):
        digits.pair("3-x")


def test_more_than_two_classes_must_be_named(tmp_path):
    pd.DataFrame({"a": [1, 2, 3], "y": [0, 1, 2]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match="has 3 classes in 'y'; name two with --pairs, like 0-1"):
        Labelled.open(str(tmp_path / "t.csv")).usual_pairs("y")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "does not exist"),
        ("t.csv", b"", "cannot be read as a table"),
        ("t.parquet", b"PAR1", "cannot be read as a table"),
        ("t.npz", b"PK", "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Labelled.open(str(tmp_path / name))


def test_pickled_tables_and_unknown_specimens_are_refused(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.array([None], dtype=object), y=np.array([0]))
    with pytest.raises(ValueError, match="pickled arrays never are"):
        Labelled.open(str(tmp_path / "t.npz"))
    np.savez(tmp_path / "u.npz", X=np.ones((2, 1)), y=np.array([0]))
    with pytest.raises(ValueError, match=r"must hold X \(n, d\) and y"):
        Labelled.open(str(tmp_path / "u.npz"))
    with pytest.raises(ValueError, match="there is specimen:digits"):
        Labelled.open("specimen:letters")
