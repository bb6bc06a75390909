import warnings

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from tameshi.graphs.edges import as_adjacency, as_anchors, as_pairs

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore"
    )  # torch.jit.script, which PyTorch Geometric calls when it is imported, is deprecated
    from torch_geometric.data import Data

PATH = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=float)


@pytest.mark.parametrize(
    "given",
    [
        [(0, 1), (1, 2)],
        np.array([[0, 1], [1, 2]]),
        torch.tensor([[0, 1], [1, 2]]),
        np.array([[0, 1, 1, 2], [1, 0, 2, 1]]),
        sp.csr_array(PATH),
        sp.coo_matrix(PATH),
        nx.path_graph(3),
        Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3),
    ],
    ids=["pairs", "array", "tensor", "both directions", "sparse array", "sparse matrix", "networkx", "pyg"],
)
def test_every_way_to_write_a_graph_gives_the_same_matrix(given):
    assert (as_adjacency(given).toarray() == PATH).all()


def test_isolated_nodes_stay_where_their_number_is_given():
    assert as_adjacency([(0, 1)], 4).shape == (4, 4)
    assert as_adjacency(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=5)).shape == (5, 5)


def test_networkx_nodes_that_are_numbers_keep_their_numbers():
    graph = nx.Graph([(2, 1), (1, 0)])
    assert (as_adjacency(graph).toarray() == PATH).all()
    named = nx.Graph([("b", "a"), ("a", "c")])  # b, a, c
    assert (as_adjacency(named).toarray() == PATH).all()


def test_an_edge_listed_twice_is_one_edge():
    assert as_adjacency([(0, 1), (0, 1)]).max() == 1


def test_directed_graphs_are_symmetrised_with_a_warning():
    with pytest.warns(UserWarning, match="directed"):
        found = as_adjacency(sp.csr_array(np.triu(PATH)))
    assert (found.toarray() == PATH).all()
    with pytest.warns(UserWarning, match="directed"):
        as_adjacency(np.array([[0, 1, 1], [1, 0, 2]]))


def test_weights_are_set_to_one_with_a_warning():
    weighted = nx.path_graph(3)
    weighted.edges[0, 1]["weight"] = 0.3
    edges, weights = torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, 2.0])
    for graph in (sp.csr_array(PATH * 3), weighted, Data(edge_index=edges, edge_weight=weights, num_nodes=3)):
        with pytest.warns(UserWarning, match="every edge counts 1"):
            assert (as_adjacency(graph).toarray() == PATH).all()
    weighted.edges[0, 1]["weight"] = 1.0
    as_adjacency(weighted)  # no warning


@pytest.mark.parametrize(
    ("given", "nodes", "message"),
    [
        (sp.csr_array(np.ones((2, 3))), None, "must be square, got 2 x 3"),
        (np.ones((4, 4)), None, "dense adjacency"),
        (np.array([[0, 5], [1, 2]]), 4, "names node 5, but the graph has nodes 0 to 3"),
        (np.array([[0, -1], [1, 2]]), None, "names node -1"),
        (np.array([[0.5], [1]]), None, "whole numbers"),
        (np.zeros((3, 2)), None, r"shape \(2, m\)"),
        (sp.csr_array(np.array([[0, np.nan], [np.nan, 0]])), None, "NaN"),
        (sp.csr_array(PATH), 5, "num_nodes says 5"),
        ([], None, "at least one node"),
        (nx.Graph(), None, "at least one node"),
    ],
)
def test_what_is_no_graph_is_refused(given, nodes, message):
    with pytest.raises(ValueError, match=message):
        as_adjacency(given, nodes)


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ([], "JOENA needs at least one anchor link"),
        ([(0, 0), (0, 1)], "node 0 of graph 1 stands in 2 anchor links"),
        ([(0, 1), (1, 1)], "node 1 of graph 2 stands in 2 anchor links"),
        ([(0, 9)], "graph 2 does not have"),
        ([(-1, 0)], "graph 1 does not have"),
        ([(0, 0.5)], "whole numbers"),
        ([0, 1], r"shape \(k, 2\)"),
    ],
)
def test_anchors_that_cannot_be_are_refused(anchors, message):
    with pytest.raises(ValueError, match=message):
        as_anchors(anchors, 3, 3, method="JOENA")


def test_no_pairs_are_an_empty_table():
    assert as_pairs([], 3, 3).shape == (0, 2)


@pytest.mark.filterwarnings("ignore:edge weights", "ignore:the graph is directed")
def test_the_users_matrix_is_left_as_it_was():
    given = sp.csr_array(np.array([[0.0, 2.0], [0.5, 0.0]]))
    assert as_adjacency(given).data.tolist() == [1.0, 1.0]
    assert given.data.tolist() == [2.0, 0.5]
