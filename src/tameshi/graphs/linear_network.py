"""Adversarial training of linear models by agents on a graph: diffusion, consensus, and what they are compared with.

Cao, Rizk, Vlaski and Sayed 2023, arXiv:2303.13326. At every step each agent perturbs its sample in the worst way for its own
model, takes a gradient step on it, and averages with its neighbours. With the models as rows of W, their gradients G (at the
old W, on perturbed samples) and the combination matrix A:

    diffusion (adapt, then combine):  W <- Aᵀ (W - μ G)
    consensus:                        W <- Aᵀ W - μ G

The recursions are the standard ones of the same authors' textbooks; the full text of the paper was not available to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tameshi.graphs.attacks import Norm, worst_linear, worst_squares
from tameshi.graphs.edges import Floats

Strategy = Literal["diffusion", "consensus", "central", "none"]
Loss = Literal["logistic", "hinge", "exponential", "squared"]
STRATEGIES: tuple[Strategy, ...] = ("diffusion", "consensus", "central", "none")
LOSSES: tuple[Loss, ...] = ("logistic", "hinge", "exponential", "squared")


def combine(models: Floats, gradients: Floats, combination: Floats, step: float, strategy: Strategy) -> Floats:
    """One step of the network.

    Args:
        models: W, (K, d).
        gradients: G, (K, d), taken at W; for "central" already the weighted mean in every row.
        combination: A, (K, K), columns sum to 1.
        step: μ.
        strategy: "none" and "central" do not communicate here.

    Returns:
        The next W, (K, d).
    """
    if strategy == "diffusion":
        return combination.T @ (models - step * gradients)
    if strategy == "consensus":
        return combination.T @ models - step * gradients
    return models - step * gradients


def loss_slope(scores: Floats, targets: Floats, loss: Loss) -> Floats:
    """Derivative of the loss with respect to the score x·w + b; targets ±1, or real for "squared" (d - score)²."""
    if loss == "squared":
        return -2 * (targets - scores)
    margins = targets * scores
    if loss == "logistic":
        return np.asarray(-targets / (1 + np.exp(np.minimum(margins, 700.0))))
    if loss == "hinge":
        return np.where(margins < 1, -targets, 0.0)
    return np.asarray(-targets * np.exp(-margins))


def perturbed(
    models: Floats, inputs: Floats, scores: Floats, targets: Floats, eps: Floats, norm: Norm, loss: Loss
) -> Floats:
    """The worst sample of each agent for its own model; all (K, ...)."""
    if loss == "squared":
        return inputs + worst_squares(models, targets - scores, eps, norm)
    return inputs + worst_linear(models, targets, eps, norm)


@dataclass(frozen=True)
class Trained:
    """Models after training: weights (K, d), intercepts (K,), and what `watch` returned."""

    weights: Floats
    intercepts: Floats
    watched: tuple[Floats, ...] = ()


def train_linear(
    inputs: Floats,
    targets: Floats,
    draws: npt.NDArray[np.int64],
    combination: Floats,
    *,
    strategy: Strategy = "diffusion",
    eps: Floats,
    norm: Norm = 2,
    loss: Loss = "logistic",
    step: float = 0.05,
    ridge: float = 1e-3,
    intercept: bool = False,
    gradient_weights: Floats | None = None,
    start: Floats | None = None,
    watch: int = 0,
) -> Trained:
    """Train K linear models, all agents in one array operation per step.

    Args:
        inputs, targets: (n, d) and (n,), the samples of all agents; targets ±1 (real for "squared").
        draws: (steps, K): which sample each agent takes at each step.
        combination: A, (K, K).
        eps: (K,) strength of the perturbation in training; 0 is clean training.
        step, ridge: μ, and ρ of the term ρ|w|² (its gradient is 2ρw; the intercept is free of it).
        intercept: learn one; no attack touches it.
        gradient_weights: (K,) factors of the agents' gradients; for "central" the weights π of their mean.
        start: (d,) or (K, d), where to start; zero by default.
        watch: note W every so many steps (0: never).

    Raises:
        FloatingPointError: the models diverged; names the step and what to do.
    """
    agents, width = len(combination), inputs.shape[1]
    weights = np.zeros((agents, width)) if start is None else np.array(np.broadcast_to(start, (agents, width)), float)
    biases = np.zeros(agents)
    factors = np.ones(agents) if gradient_weights is None else gradient_weights
    watched: list[Floats] = []
    robust = bool(eps.any())
    with np.errstate(over="ignore", invalid="ignore"):  # divergence is told below, in words
        for i, drawn in enumerate(draws):
            x, y = inputs[drawn], targets[drawn]
            scores = np.einsum("ij,ij->i", x, weights) + biases
            if robust:
                x = perturbed(weights, x, scores, y, eps, norm, loss)
                scores = np.einsum("ij,ij->i", x, weights) + biases
            slopes = loss_slope(scores, y, loss)
            gradients = slopes[:, None] * x
            gradients += 2 * ridge * weights
            if strategy == "central":
                gradients = np.broadcast_to(factors @ gradients, gradients.shape)
                slopes = np.full(agents, factors @ slopes)
            elif gradient_weights is not None:
                gradients *= factors[:, None]
                slopes = slopes * factors
            weights = combine(weights, gradients, combination, step, strategy)
            if intercept:
                biases = combine(biases[:, None], slopes[:, None], combination, step, strategy)[:, 0]
            if watch and (i + 1) % watch == 0:
                watched.append(weights.copy())
            if i % 256 == 0 and not np.isfinite(weights).all():
                break
    if not np.isfinite(weights).all() or np.abs(weights).max() > 1e100:
        raise FloatingPointError(
            f"training diverged with step {step} ({strategy}); try a step of {step / 10:g}, "
            "or inputs scaled to a length of about 1"
        )
    return Trained(weights, biases, tuple(watched))


def sample_draws(owners: npt.NDArray[np.int64], steps: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(steps, K): rows drawn with replacement, every agent from its own."""
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.asarray(order[first + (rng.random((steps, len(counts))) * counts).astype(np.int64)])


def disagreement(weights: Floats) -> float:
    """Root mean square distance of the agents' models (K, d) from their mean."""
    return float(np.sqrt(((weights - weights.mean(axis=0)) ** 2).sum(axis=1).mean()))
