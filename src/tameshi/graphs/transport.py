"""Entropic optimal transport between uniform measures, and the Gromov-Wasserstein cost on sparse graphs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tameshi.graphs.sparse import blocks, some_rows


def sinkhorn(cost: Tensor, column_potential: Tensor, *, temperature: float, iterations: int) -> tuple[Tensor, Tensor]:
    """Log-domain Sinkhorn with uniform marginals, at the price of one exponential per entry.

    f_i = -γ log Σ_j e^{-(Q_ij - g_j)/γ} + γ log(1/n1), then g_j likewise over i with the new f; γ = `temperature`. The first
    f is computed so, with the row maximum taken out. The later updates multiply the plan's rows and columns by scalings,
    which is the same in exact arithmetic; where a scaling leaves the range in which it is safe, everything is done again
    in the log domain.

    Args:
        cost: Q, (n1, n2).
        column_potential: g to start from, (n2,).
        temperature: γ > 0, in the unit of the cost.
        iterations: pairs of updates, at least 1.

    Returns:
        (plan e^{(f + g - Q)/γ} of shape (n1, n2), whose columns sum to exactly 1/n2; the new g).
    """
    n1, n2 = cost.shape
    plan = (column_potential - cost).div_(temperature)
    plan -= plan.amax(dim=1, keepdim=True)
    plan.exp_()
    plan *= (1 / n1) / plan.sum(dim=1, keepdim=True)
    rows = plan.new_ones(n1)
    columns = (1 / n2) / plan.sum(dim=0)
    for _ in range(iterations - 1):
        rows = (1 / n1) / (plan @ columns)
        columns = (1 / n2) / (plan.T @ rows)
    safe = 1e100 if plan.dtype == torch.float64 else 1e15
    scalings = torch.cat([rows, columns])
    if not bool(((scalings < safe) & (scalings > 1 / safe)).all()):
        del plan
        return log_sinkhorn(cost, column_potential, temperature=temperature, iterations=iterations)
    return plan.mul_(rows[:, None]).mul_(columns), column_potential + temperature * columns.log()


def log_sinkhorn(
    cost: Tensor, column_potential: Tensor, *, temperature: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """The same as `sinkhorn`, update by update as it is written on paper: the reference, and the fallback."""
    n1, n2 = cost.shape
    f, g = cost.new_zeros(n1), column_potential
    for _ in range(iterations):
        f = -temperature * (torch.logsumexp((g - cost) / temperature, dim=1) + math.log(n1))
        g = -temperature * (torch.logsumexp((f[:, None] - cost) / temperature, dim=0) + math.log(n2))
    return ((f[:, None] + g - cost) / temperature).exp(), g


def gromov_cost(cost1: Tensor, cost2: Tensor, coupling: Tensor, shift: float = 0.0) -> Tensor:
    """L(X) = (C1² X 1) 1ᵀ + 1 (1ᵀ X C2²) - 2 C1 X C2ᵀ for X = S - λ, squares elementwise.

    The shift λ only enters through sums of rows and columns: products with a matrix of ones are never formed.

    Args:
        cost1, cost2: symmetric C1 (n1, n1) and C2 (n2, n2); CSR or strided.
        coupling: S, (n1, n2).
        shift: λ.

    Returns:
        (n1, n2).
    """
    n1, n2 = coupling.shape
    crossed = torch.empty_like(coupling)
    for rows in blocks(n1):
        crossed[rows] = (cost2 @ (some_rows(cost1, rows) @ coupling).T).T
    crossed *= -2
    crossed += (squared(cost1) @ (coupling.sum(dim=1) - shift * n2))[:, None]
    crossed += squared(cost2) @ (coupling.sum(dim=0) - shift * n1)
    if shift:
        crossed.addr_(row_sums(cost1), row_sums(cost2), alpha=2 * shift)
    return crossed


def fused_gromov(
    cost: Tensor,
    cost1: Tensor,
    cost2: Tensor,
    *,
    shift: float,
    weight: float,
    temperature: float,
    inner: int = 5,
    outer: int = 10,
) -> Tensor:
    """The coupling of JOENA: fused Gromov-Wasserstein with the coupling shifted by λ inside the cost.

    Ten times Q = M + w L(S - λ), five Sinkhorn updates, S <- 0.05 S + 0.95 plan (`sinkhorn_stable` of the official code; the
    paper speaks of a proximal point method, the code has no proximal term).

    Args:
        cost: M, (n1, n2).
        cost1, cost2: C1, C2 as in `gromov_cost`.
        shift: λ.
        weight: w, of the Gromov-Wasserstein term.
        temperature: γ.
        inner, outer: Sinkhorn updates per cost, and costs.

    Returns:
        S, (n1, n2); sums to 1.
    """
    n1, n2 = cost.shape
    coupling = torch.full_like(cost, 1 / (n1 * n2))
    potential = cost.new_full((n2,), 1 / n2)
    for _ in range(outer):
        total = gromov_cost(cost1, cost2, coupling, shift).mul_(weight).add_(cost) if weight else cost
        plan, potential = sinkhorn(total, potential, temperature=temperature, iterations=inner)
        coupling.mul_(0.05).add_(plan, alpha=0.95)
        del plan, total  # before the next ones are made
    return coupling


def squared(matrix: Tensor) -> Tensor:
    """Elementwise square; CSR stays CSR."""
    if matrix.layout == torch.sparse_csr:
        rows, columns = matrix.crow_indices(), matrix.col_indices()
        return torch.sparse_csr_tensor(rows, columns, matrix.values() ** 2, matrix.shape, check_invariants=False)
    return matrix**2


def row_sums(matrix: Tensor) -> Tensor:
    """(n,)"""
    return matrix @ torch.ones(matrix.shape[1], dtype=matrix.dtype)
