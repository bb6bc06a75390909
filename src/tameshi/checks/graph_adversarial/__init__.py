"""Adversarial training over a graph against training alone, in one place, and without attacks."""

from tameshi.checks.graph_adversarial.applied import train_network
from tameshi.checks.graph_adversarial.convergence import convergence
from tameshi.checks.graph_adversarial.figures import accuracy_by_strength, deviation_by_step
from tameshi.checks.graph_adversarial.robustness import robustness
from tameshi.checks.graph_adversarial.rules import RULES

__all__ = ["RULES", "accuracy_by_strength", "convergence", "deviation_by_step", "robustness", "train_network"]
