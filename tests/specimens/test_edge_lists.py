import pytest

from tameshi.specimens.edge_lists import edge_list


def test_edge_lists_are_read_with_names_headings_and_comments(tmp_path):
    file = tmp_path / "g.csv"
    file.write_text('# friends\nsource,target\nann,bob\n"bob",10,0.5\n10,2\nann,bob\n', encoding="utf-8")
    graph = edge_list(file)
    assert graph.names == ("2", "10", "ann", "bob")
    assert graph.edges.T.tolist() == [[0, 1], [1, 3], [2, 3]]
    file.write_text("1 2\n2\t3\n", encoding="utf-8")
    assert edge_list(file).edges.shape == (2, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a\n", "line 1, must name two nodes"), (b"# nothing\n", "holds no pair"), (b"\xff\xfe\x00", "not UTF-8")],
)
def test_edge_lists_that_are_none_are_refused(tmp_path, content, message):
    (tmp_path / "g.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        edge_list(tmp_path / "g.csv")
    with pytest.raises(ValueError, match="does not exist"):
        edge_list(tmp_path / "none.csv")
