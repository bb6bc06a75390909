import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from tameshi.graphs import as_adjacency, combination_matrix, erdos_renyi, perron

STAR = [(0, 1), (0, 2), (0, 3)]
RULES = ("metropolis", "averaging", "relative-degree")


def test_metropolis_on_a_star_by_hand():
    quarter = np.array([[0.25, 0.25, 0.25, 0.25], [0.25, 0.75, 0, 0], [0.25, 0, 0.75, 0], [0.25, 0, 0, 0.75]])
    assert combination_matrix(STAR) == pytest.approx(quarter)
    assert perron(quarter) == pytest.approx(np.full(4, 0.25))


def test_averaging_weighs_agents_by_their_neighbours():
    graph = erdos_renyi(12, 0.3, seed=1)
    heard = graph.sum(axis=0) + 1
    assert perron(combination_matrix(graph, "averaging")) == pytest.approx(heard / heard.sum(), abs=1e-12)


def test_relative_degree_on_a_path_by_hand():
    found = combination_matrix([(0, 1), (1, 2)], "relative-degree")  # degrees with self 2, 3, 2
    assert found[:, 0] == pytest.approx([2 / 5, 3 / 5, 0])
    assert found[:, 1] == pytest.approx([2 / 7, 3 / 7, 2 / 7])


def test_the_perron_vector_of_the_worked_example():
    assert perron(np.array([[0.75, 0.4], [0.25, 0.6]])) == pytest.approx([0.61538462, 0.38461538], abs=1e-8)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), agents=st.integers(1, 15), rule=st.sampled_from(RULES))
def test_columns_sum_to_one_and_stay_on_the_graph(seed, agents, rule):
    graph = erdos_renyi(agents, 0.4, seed=seed)
    assert connected_components(graph)[0] == 1
    found = combination_matrix(graph, rule)
    assert found.sum(axis=0) == pytest.approx(np.ones(agents), abs=1e-12)
    assert (found >= -1e-15).all()
    assert not found[(graph.toarray() + np.eye(agents)) == 0].any()
    weights = perron(found)
    assert found @ weights == pytest.approx(weights, abs=1e-12)


def test_combining_with_a_doubly_stochastic_matrix_keeps_the_mean():
    found = combination_matrix(erdos_renyi(9, 0.4, seed=3))
    models = np.random.default_rng(0).normal(size=(9, 4))
    assert (found.T @ models).mean(axis=0) == pytest.approx(models.mean(axis=0), abs=1e-12)


def test_the_graph_of_a_seed_is_the_same_graph():
    assert (erdos_renyi(20, 0.2, seed=4) != erdos_renyi(20, 0.2, seed=4)).nnz == 0


@pytest.mark.parametrize(
    ("graph", "rule", "message"),
    [
        ([(0, 1), (2, 3)], "metropolis", "falls into 2 parts"),
        (STAR, "sum", "combine must be"),
        ([(0, 1)], np.array([[0.9, 0.1], [0.3, 0.7]]), "is off by 0.2; its rows do, so pass its transpose"),
        ([(0, 1)], np.array([[0.9, 0.3], [0.0, 0.72]]), "column 0 is off by 0.1$"),
        ([(0, 1)], np.array([[1.1, 0.0], [-0.1, 1.0]]), "at least 0"),
        ([(0, 1)], np.eye(3), "must be 2 x 2"),
        ([(0, 1)], np.array([[0.0, 1.0], [1.0, 0.0]]), "keep a part of its own"),
        ([(0, 1)], np.array([[1.0, 0.5], [0.0, 0.5]]), "fall into 2 groups that do not hear each other both ways"),
        ([(0, 1), (1, 2)], np.full((3, 3), 1 / 3), "agent 2 listen to agent 0|agent 0 listen to agent 2"),
    ],
)
def test_what_cannot_combine_is_refused(graph, rule, message):
    with pytest.raises(ValueError, match=message):
        combination_matrix(graph, rule)


def test_parts_may_be_let_through():
    assert combination_matrix([(0, 1), (2, 3)], allow_disconnected=True).shape == (4, 4)
    assert as_adjacency([(0, 1), (2, 3)]).shape == (4, 4)


def test_a_graph_that_will_not_connect_is_refused():
    with pytest.raises(ValueError, match="larger probability"):
        erdos_renyi(60, 0.001, seed=0)
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        erdos_renyi(5, 0.0, seed=0)


CIRCLE = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]  # 0 -> 1 -> 2 -> 0


@pytest.mark.parametrize("graph", [nx.DiGraph([(0, 1), (1, 2), (2, 0)]), csr_array(np.array(CIRCLE))])
def test_in_a_directed_graph_an_agent_hears_those_whose_edges_lead_to_it(graph):
    half = combination_matrix(graph, "averaging")
    assert half.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]]
    assert combination_matrix(graph, "metropolis").tolist() == half.tolist()
    assert perron(half) == pytest.approx(np.full(3, 1 / 3))


def test_a_directed_graph_must_be_strongly_connected():
    with pytest.raises(ValueError, match=r"falls into 3 parts .* cannot learn from each other both ways"):
        combination_matrix(nx.DiGraph([(0, 1), (1, 2)]))
