from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tameshi.specimens.graph_pair import GraphPair, barabasi_albert, moved_edges

EDGES = np.array([[0, 1, 2], [1, 2, 3]])


def written(folder, **changes):
    arrays = {
        "edge_index1": EDGES,
        "edge_index2": EDGES,
        "pos_pairs": np.array([[0, 0]]),
        "test_pairs": np.array([[1, 1], [3, 4]]),
    }
    path = folder / "pair.npz"
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return path


def test_the_specimen_is_a_clean_graph_and_its_noisy_copy():
    pair = GraphPair.open("specimen:ba").drawn(0.0, seed=3)
    names = dict(np.concatenate([pair.anchors, pair.test]).tolist())
    first = {tuple(sorted((names[u], names[v]))) for u, v in pair.edges1.T.tolist()}
    assert first == {tuple(edge) for edge in pair.edges2.T.tolist()}
    assert (len(pair.anchors), len(pair.test)) == (40, 160)
    assert pair.edges1.shape == (2, 195 * 5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(share=st.floats(0, 0.6), seed=st.integers(0, 1000))
def test_noise_moves_as_many_edges_as_it_says(share, seed):
    edges = barabasi_albert(40, 3, np.random.default_rng(seed))
    moved = moved_edges(edges, 40, share, np.random.default_rng(seed))
    before, after = ({tuple(sorted(e)) for e in m.T.tolist()} for m in (edges, moved))
    assert len(after) == moved.shape[1] == edges.shape[1]
    assert len(before - after) == round(share * edges.shape[1])


def test_new_nodes_join_as_many_old_ones_as_they_should():
    graph = nx.Graph(barabasi_albert(60, 4, np.random.default_rng(0)).T.tolist())
    assert nx.is_connected(graph)
    assert graph.number_of_edges() == 56 * 4


def test_the_same_seed_draws_the_same_pair_and_noise_keeps_the_anchors():
    specimen = GraphPair.open("specimen:ba-50")
    one, two, noisy = specimen.drawn(0.2, 1), specimen.drawn(0.2, 1), specimen.drawn(0.4, 1)
    assert one.fingerprint == two.fingerprint != noisy.fingerprint
    assert (one.anchors == noisy.anchors).all()
    assert (one.edges1 == noisy.edges1).all()
    assert specimen.drawn(0.2, 2).fingerprint != one.fingerprint


def test_an_official_file_is_read(tmp_path):
    pair = GraphPair.open(str(written(tmp_path)))
    assert pair.sizes == (4, 5)  # node 4 of graph 2 stands in no edge, only in a pair
    assert pair.g2.shape == (5, 5)
    assert pair.x1 is None
    assert (pair.drawn(0.0, 0).edges2 == pair.edges2).all()
    assert pair.drawn(0.3, 0).edges1 is pair.edges1


def test_pickled_attributes_are_no_attributes_and_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("unpickled",))

    path = written(tmp_path, x1=np.array([Bomb()], dtype=object), x2=np.array([None], dtype=object))
    assert GraphPair.open(str(path)).x1 is None


def test_attributes_are_read_where_they_are_numbers(tmp_path):
    pair = GraphPair.open(str(written(tmp_path, x1=np.ones((6, 2)), x2=np.zeros((5, 2), np.float32))))
    assert pair.sizes == (6, 5)
    assert pair.x2.dtype == np.float64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_pairs": None}, "has no readable array test_pairs"),
        ({"edge_index1": np.array([None], dtype=object)}, "has no readable array edge_index1"),
        ({"edge_index1": np.ones((3, 4), int)}, r"edge_index1 .* of shape \(2, m\)"),
        ({"edge_index1": np.ones((2, 4))}, "must be whole numbers"),
        ({"pos_pairs": np.array([[0, -1]])}, "must not hold negative"),
        ({"x1": np.ones((2, 2)), "x2": np.ones((9, 2))}, "x1 .* has 2 rows, but graph 1 has 4 nodes"),
    ],
)
def test_files_that_are_no_pair_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        GraphPair.open(str(written(tmp_path, **changes)))


def test_a_cut_file_is_refused(tmp_path):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="not a whole"):
        GraphPair.open(str(path))


@pytest.mark.parametrize("address", ["specimen:ba-5", "specimen:other", "nowhere.npz"])
def test_what_is_not_there_is_refused(address):
    with pytest.raises(ValueError, match="specimen:ba"):
        GraphPair.open(address)


def test_a_folder_of_edge_lists_is_a_pair(tmp_path):
    for name, text in {"graph1": "a b\nb c", "graph2": "x y\ny z", "anchors": "a x", "test": "b,y\nc,z"}.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    pair = GraphPair.open(str(tmp_path))
    assert pair.anchors.tolist() == [[0, 0]]
    assert pair.test.tolist() == [[1, 1], [2, 2]]
    (tmp_path / "anchors.csv").write_text("a nobody", encoding="utf-8")
    with pytest.raises(ValueError, match="'nobody', which is no node of graph 2"):
        GraphPair.open(str(tmp_path))


def test_noise_is_a_share():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        GraphPair.open("specimen:ba-30").drawn(1.5, 0)
    with pytest.raises(ValueError, match="no room"):
        moved_edges(np.array([[0, 0, 1], [1, 2, 2]]), 3, 1.0, np.random.default_rng(0))


def test_attributes_are_those_of_the_counterpart_but_for_the_noise():
    pair = GraphPair.open("specimen:ba-50").drawn(0.2, 3)
    clean, noisy = pair.attributed(0.0, 3), pair.attributed(0.4, 3)
    here, there = np.concatenate([pair.anchors, pair.test]).T
    assert (clean.x2[there] == clean.x1[here]).all()
    wrong = (noisy.x2 != clean.x2).any(axis=1)
    assert wrong.sum() == 20
    assert sorted(noisy.x2[wrong].tolist()) == sorted(clean.x2[wrong].tolist()), "they swapped among each other"
    with pytest.raises(ValueError, match="attribute noise must be a share"):
        pair.attributed(1.5, 0)
    with pytest.raises(ValueError, match="has no attributes"):
        replace(pair, made=None).attributed(0.1, 0)


def test_a_pickle_of_another_library_is_refused_with_the_way_out(tmp_path):
    torch.save({"graphs": [1]}, tmp_path / "phone-email.pt")
    with pytest.raises(ValueError, match=r"phone-email\.pt is a pickle, .* with numpy\.savez"):
        GraphPair.open(str(tmp_path / "phone-email.pt"))
