import networkx as nx
import numpy as np
import pytest
from tests.graphs.graphs_at_hand import barabasi

from tameshi.graphs import as_adjacency, random_walks


def test_the_path_of_three_nodes():
    walk = random_walks(as_adjacency([(0, 1), (1, 2)]), np.array([0]))[:, 0]
    assert walk == pytest.approx([0.34527027, 0.45945946, 0.19527027], abs=1e-8)
    assert walk.sum() == pytest.approx(1, abs=1e-10)


def test_all_anchors_together_equal_one_pagerank_each():
    adjacency = barabasi(60, seed=1)
    starts = np.array([3, 0, 59])
    walks = random_walks(adjacency, starts)
    graph = nx.from_scipy_sparse_array(adjacency)
    for column, start in enumerate(starts.tolist()):
        page = nx.pagerank(graph, alpha=0.85, personalization={start: 1}, tol=1e-12, max_iter=1000)
        assert walks[:, column] == pytest.approx([page[n] for n in range(60)], abs=1e-9)


@pytest.mark.parametrize("restart", [0.02, 0.5, 1.0])
def test_the_walk_solves_its_equation(restart):
    adjacency = barabasi(40, seed=2)
    walks = random_walks(adjacency, np.arange(40), restart=restart)
    step = adjacency.toarray() / adjacency.sum(axis=0)
    assert (1 - restart) * step @ walks + restart * np.eye(40) == pytest.approx(walks, abs=1e-9)


def test_an_isolated_start_gives_a_column_of_zeros():
    assert (random_walks(as_adjacency([(0, 1)], 3), np.array([2])) == 0).all()


def test_restart_is_a_probability():
    with pytest.raises(ValueError, match="restart must be a probability"):
        random_walks(as_adjacency([(0, 1)]), np.array([0]), restart=0)
