"""Graphs: aligning two of them, and learning over one.

Aligners find for the nodes of one graph their counterparts in another (`JOENA`, `PARROT`, `IsoRank`, `FINAL`, `RWRCosine`). In
`RobustNetworkClassifier` and `DecentralizedTrainer` the graph says which learner talks to which.
"""

from __future__ import annotations

try:
    import sklearn  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("the graphs wing needs scikit-learn and torch: pip install 'tameshi[graphs]'") from error

from tameshi.graphs.aligner import NetworkAligner, alignment_metrics, ranks, reciprocal_ranks
from tameshi.graphs.attacks import GradientAttack, fgm, pgd
from tameshi.graphs.combination import combination_matrix, erdos_renyi, perron
from tameshi.graphs.edges import as_adjacency
from tameshi.graphs.joena import JOENA
from tameshi.graphs.linear_network import train_linear
from tameshi.graphs.parrot import PARROT
from tameshi.graphs.propagation import FINAL, IsoRank, RWRCosine
from tameshi.graphs.robust_classifier import RobustNetworkClassifier, robust_accuracy
from tameshi.graphs.trainer import DecentralizedTrainer
from tameshi.graphs.walks import random_walks, rwr_features

__all__ = [
    "FINAL",
    "JOENA",
    "PARROT",
    "DecentralizedTrainer",
    "GradientAttack",
    "IsoRank",
    "NetworkAligner",
    "RWRCosine",
    "RobustNetworkClassifier",
    "alignment_metrics",
    "as_adjacency",
    "combination_matrix",
    "erdos_renyi",
    "fgm",
    "perron",
    "pgd",
    "random_walks",
    "ranks",
    "reciprocal_ranks",
    "robust_accuracy",
    "rwr_features",
    "train_linear",
]
