"""Speed and memory of the graphs wing: each against a plain implementation, as ratios of CPU time in one process.

    OMP_NUM_THREADS=1 python benchmarks/graphs.py [--large]

--large adds the pair of 10,000 nodes (about 5 GiB of memory and some minutes).
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch.nn import functional

from tameshi.graphs import JOENA, DecentralizedTrainer, RobustNetworkClassifier, combination_matrix, erdos_renyi, pgd
from tameshi.graphs.joena import Encoder, Problem, optimal_shift
from tameshi.graphs.transport import fused_gromov
from tameshi.graphs.walks import random_walks
from tameshi.specimens.graph_pair import GraphPair
from tameshi.specimens.labelled import Labelled

torch.set_num_threads(1)


def seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """CPU seconds of this thread, the fastest of some runs after one to warm up."""
    work()
    found = []
    for _ in range(repeats):
        begun = time.thread_time()
        work()
        found.append(time.thread_time() - begun)
    return min(found)


def dense_epoch(
    x1: torch.Tensor,
    x2: torch.Tensor,
    a1: torch.Tensor,
    a2: torch.Tensor,
    encoder: Encoder,
    weight: float,
    gamma: float,
) -> torch.Tensor:
    """One epoch as the official code does it: dense costs, products with matrices of ones, Sinkhorn in the log domain, autograd."""
    n1, n2 = len(x1), len(x2)
    z1, z2 = encoder(x1), encoder(x2)
    m = torch.exp(-(z1 @ z2.T))
    c1, c2 = torch.exp(-(z1 @ z1.T)) * a1, torch.exp(-(z2 @ z2.T)) * a2
    ones1, ones2 = torch.ones(n1, n2, dtype=m.dtype), torch.ones(n2, n2, dtype=m.dtype)

    def gromov(s: torch.Tensor, c1: torch.Tensor, c2: torch.Tensor) -> torch.Tensor:
        first = c1**2 @ s @ ones2  # (n1, n2) of row sums, by a product with ones
        second = torch.ones(n1, n1, dtype=m.dtype) @ s @ c2**2
        return first + second - 2 * c1 @ s @ c2.T

    with torch.no_grad():
        shift = 0.5 / (n1 * n2)
        s = torch.full_like(m, 1 / (n1 * n2))
        f, g = torch.full((n1, 1), 1 / n1, dtype=m.dtype), torch.full((1, n2), 1 / n2, dtype=m.dtype)
        for _ in range(10):
            q = m + weight * gromov(s - shift, c1, c2)
            for _ in range(5):
                f = -gamma * torch.logsumexp((g - q) / gamma, dim=1, keepdim=True) - gamma * np.log(n1)
                g = -gamma * torch.logsumexp((f - q) / gamma, dim=0, keepdim=True) - gamma * np.log(n2)
            s = 0.05 * s + 0.95 * torch.exp((f + g - q) / gamma)
        b = gromov(ones1, c1, c2)
        shift = float((m.sum() + 2 * weight * (b * s).sum()) / (2 * weight * b.sum()))
    shifted = s - shift
    (m * shifted).sum().add(weight * (gromov(shifted, c1, c2) * shifted).sum()).backward()
    return s


def joena_epoch(nodes: int) -> None:
    pair = GraphPair.open(f"specimen:ba-{nodes}").drawn(0.3, 0)
    x1, x2 = (random_walks(g, pair.anchors[:, i]) for i, g in enumerate((pair.g1, pair.g2)))
    problem = Problem.of(pair.g1, pair.g2, x1, x2, attributes=None, alpha=0.7)
    encoder = Encoder.drawn(x1.shape[1], 128, 128, seed=0).double()
    a1, a2 = (torch.from_numpy(g.toarray()) for g in (pair.g1, pair.g2))
    kept = {}

    def ours() -> None:
        encoder.zero_grad()
        z1, z2 = encoder(problem.features1), encoder(problem.features2)
        costs = problem.costs(z1.detach(), z2.detach())
        s = fused_gromov(*costs, shift=0.5 / nodes**2, weight=problem.weight, temperature=1e-2)
        shift = optimal_shift(*costs, s, problem.weight)
        _, g1, g2 = problem.gradients(z1.detach(), z2.detach(), costs, s, shift)
        torch.autograd.backward([z1, z2], [g1, g2])
        kept["ours"] = (s, encoder.inner.weight.grad.clone())

    def dense() -> None:
        encoder.zero_grad()
        s = dense_epoch(problem.features1, problem.features2, a1, a2, encoder, problem.weight, 1e-2)
        kept["dense"] = (s, encoder.inner.weight.grad.clone())

    t_ours, t_dense = seconds(ours), seconds(dense, 1)
    apart = float((kept["ours"][0] - kept["dense"][0]).abs().max()) * nodes
    slope = float((kept["ours"][1] - kept["dense"][1]).abs().max() / kept["dense"][1].abs().max())
    goal = 0.4 if nodes < 2000 else 0.2
    print(
        f"joena epoch, {nodes} nodes: {t_ours:.3f} s against {t_dense:.3f} s dense, ratio {t_ours / t_dense:.2f} "
        f"(goal {goal}); couplings agree to {apart:.1e}, gradients to {slope:.1e}"
    )


def walks(nodes: int) -> None:
    pair = GraphPair.open(f"specimen:ba-{nodes}")
    starts = pair.anchors[:, 0]
    graph = nx.from_scipy_sparse_array(pair.g1)
    ours = seconds(lambda: random_walks(pair.g1, starts))
    some = starts[:20]
    begun = time.thread_time()
    for start in some.tolist():
        nx.pagerank(graph, alpha=0.85, personalization={start: 1})
    each = (time.thread_time() - begun) / len(some) * len(starts)
    print(
        f"walks of {len(starts)} anchors, {nodes} nodes: {ours:.3f} s against {each:.2f} s by PageRank, {each / ours:.0f}x (goal 20x)"
    )


def large() -> None:
    pair = GraphPair.open("specimen:ba-10000").drawn(0.3, 0)
    begun = time.thread_time()
    aligner = JOENA(epochs=1, early_stop=None).fit(pair.g1, pair.g2, pair.anchors)
    took = time.thread_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"joena, 10,000 nodes, one epoch: {took:.0f} CPU s, peak {peak:.2f} GiB (goal 6 GB), MRR {aligner.score(pair.test[:1000]):.3f}"
    )


def agents() -> None:
    examples = Labelled.open("specimen:digits").pair("3-8")
    eps = np.linspace(0.2, 1, 20)
    fit = RobustNetworkClassifier(eps=eps, fit_intercept=False)
    took = seconds(lambda: fit.fit(examples.inputs[:240], examples.labels[:240]))
    print(f"20 linear agents, 3,000 iterations: {took:.3f} CPU s (goal 0.5)")


class Residual(torch.nn.Module):
    """64-64-10 with a skip: no plain chain, so that `torch.func.vmap` carries it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(64, 64), torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(x + self.inner(x).relu())


class Convolution(torch.nn.Module):
    """One convolution with pooling on 8 x 8 pixels: its arithmetic outweighs what calling it costs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(functional.max_pool2d(self.inner(x.view(-1, 1, 8, 8)).relu(), 2).flatten(1))


def networks() -> None:
    """20 agents, 10 steps on batches of 16, against an ordinary loop: a module and an optimiser per agent, then one average."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        [(torch.randn(16, 64, generator=generator), torch.randint(10, (16,), generator=generator)) for _ in range(10)]
        for _ in range(20)
    ]
    graph = erdos_renyi(20, 0.2, seed=0)
    weights = torch.from_numpy(combination_matrix(graph)).float()

    def chain() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def loop(make: Callable[[], torch.nn.Module], attack: Any) -> Callable[[], None]:
        models = [make() for _ in range(20)]
        optimizers = [torch.optim.SGD(model.parameters(), lr=0.05) for model in models]

        def epoch() -> None:
            for step in range(10):
                for model, optimizer, stream in zip(models, optimizers, batches, strict=True):
                    x, y = stream[step]
                    if attack is not None:
                        x = attack(model, x, y)
                    optimizer.zero_grad(set_to_none=True)
                    functional.cross_entropy(model(x), y).backward()
                    optimizer.step()
                with torch.no_grad():
                    for same in zip(*(model.parameters() for model in models), strict=True):
                        mixed = weights.T @ torch.stack(same).flatten(1)
                        for parameter, row in zip(same, mixed, strict=True):
                            parameter.copy_(row.view_as(parameter))

        return epoch

    for name, make in (("chain", chain), ("residual, by vmap", Residual), ("convolution, by vmap", Convolution)):
        for attack in (pgd(0.3), None):
            trainer = DecentralizedTrainer(make, batches, graph, attack=attack)
            together, each = seconds(lambda: trainer.fit(1)), seconds(loop(make, attack))  # noqa: B023  # called at once
            print(
                f"20 networks ({name}), {'clean' if attack is None else 'PGD-7'}: {together * 100:.2f} ms a step together, "
                f"{each * 100:.2f} ms in a loop, {each / together:.1f}x (goal 4x)"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    asked = parser.parse_args()
    print(f"torch {torch.__version__}, one thread, {sys.platform}")
    walks(1000)
    joena_epoch(1000)
    joena_epoch(2000)
    agents()
    networks()
    if asked.large:
        large()
