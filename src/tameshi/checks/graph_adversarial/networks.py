"""Networks of two layers under attack, over the graph and in one place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch

from tameshi.graphs import DecentralizedTrainer, erdos_renyi, pgd
from tameshi.graphs.attacks import random_search
from tameshi.nouns import Items, Measurement, measure
from tameshi.specimens.labelled import Labelled


def networks(
    data: Labelled, target: str, strengths: tuple[float, ...], count: int, epochs: int, limit: int | None, seed: int
) -> Iterator[Measurement]:
    """Two-layer networks (64 hidden) on all classes, one copy an agent, batches of 16, PGD-7 in training."""

    @cache
    def split() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        examples = data.examples(target)
        classes = np.unique(examples.labels, return_inverse=True)[1]
        order = np.random.default_rng(seed).permutation(len(classes))
        inputs = torch.from_numpy(examples.inputs - examples.inputs.mean(axis=0)).float()
        labels, first = torch.from_numpy(classes), len(order) * 2 // 3
        known, unseen = torch.from_numpy(order[:first]), torch.from_numpy(order[first:][:limit])
        return inputs[known], labels[known], inputs[unseen], labels[unseen]

    @cache
    def trained(strategy: Literal["diffusion", "central"]) -> DecentralizedTrainer:
        x, y, _, unseen = split()
        classes = int(max(y.max(), unseen.max())) + 1
        rng = np.random.default_rng([seed, 3])
        loaders = []
        for k in range(count):
            mine = torch.arange(k, len(y), count)
            batches = [mine[torch.from_numpy(rng.permutation(len(mine)))[:16]] for _ in range(epochs * len(mine) // 16)]
            loaders.append([(x[rows], y[rows]) for rows in batches])
        eps = torch.from_numpy(rng.uniform(0.2, 1.0, count)).float()

        def network() -> torch.nn.Module:
            hidden = torch.nn.Linear(x.shape[1], 64)
            return torch.nn.Sequential(hidden, torch.nn.ReLU(), torch.nn.Linear(64, classes))

        graph = erdos_renyi(count, 0.2, seed=seed)
        trainer = DecentralizedTrainer(
            network, loaders, graph, strategy, pgd(eps), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), seed=seed
        )
        return trainer.fit(1)

    def attacked(strategy: Literal["diffusion", "central"], strength: float) -> dict[str, Any]:
        trainer, (_, _, x, y) = trained(strategy), split()
        attack = pgd(strength, steps=20, seed=seed)
        right = torch.stack(
            [trainer.agent_model(k)(attack(trainer.agent_model(k), x, y)).argmax(-1) == y for k in range(count)]
        )
        mean = trainer.mean_model()
        blindly = [random_search(trainer.agent_model(k), x, y, strength, tries=50, seed=seed) for k in range(count)]
        return {
            "robust_accuracy": Items(right.float().mean(dim=0).tolist(), range(len(y))),
            "mean_model_accuracy": float((mean(attack(mean, x, y)).argmax(-1) == y).float().mean()),
            "disagreement": trainer.disagreement(),
            "random_search_accuracy": float(
                torch.stack(blindly).float().mean()
            ),  # below the other: gradients are masked
        }

    for strength in strengths:
        for strategy in ("diffusion", "central"):
            yield measure(f"{strategy}-network", partial(attacked, strategy, strength), strength=strength)
