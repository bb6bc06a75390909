"""How far from the robust minimiser the agents stay, over the size of their step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize

from tameshi.checks.graph_adversarial.refusals import refuse
from tameshi.graphs import erdos_renyi, train_linear
from tameshi.graphs.combination import combination_matrix
from tameshi.graphs.linear_network import sample_draws
from tameshi.nouns import Measurement, check, measure


@check("graph-adversarial", seeds=10)
def convergence(
    *,
    steps: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08),
    watched: int = 6000,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Mean square distance from the robust minimiser, and between agents, over the size of the step.

    Logistic loss, 10 agents with 200 samples each in 5 dimensions; the minimiser of the closed form is found by BFGS, training
    starts there, and the last three quarters are averaged.

    Args:
        steps: sizes of the step.
        watched: iterations of training.
    """
    refuse(steps=steps, watched=watched)
    count, width, per_agent, ridge = 10, 5, 200, 0.05

    @cache
    def world() -> dict[str, Any]:
        rng = np.random.default_rng([seed, 2])
        inputs = rng.normal(size=(count * per_agent, width))
        labels = np.where(rng.random(len(inputs)) < 1 / (1 + np.exp(-inputs @ rng.normal(size=width))), 1.0, -1.0)
        owners = np.repeat(np.arange(count), per_agent)
        eps = rng.uniform(0.1, 0.5, count)

        def risk(w: Any) -> float:
            margins = labels * (inputs @ w) - eps[owners] * np.linalg.norm(w)
            return float(np.logaddexp(0, -margins).mean() + ridge * w @ w)

        best = minimize(risk, np.full(width, 0.1), method="BFGS", options={"gtol": 1e-8}).x
        matrix = combination_matrix(erdos_renyi(count, 0.3, seed=int(rng.integers(2**31))))
        draws = sample_draws(owners, watched, rng)
        return {"inputs": inputs, "labels": labels, "eps": eps, "best": best, "matrix": matrix, "draws": draws}

    @cache
    def spread(name: Literal["diffusion", "consensus"], step: float) -> tuple[float, float]:
        at = world()
        trained = train_linear(
            at["inputs"],
            at["labels"],
            at["draws"],
            at["matrix"],
            strategy=name,
            eps=at["eps"],
            step=step,
            ridge=ridge,
            start=at["best"],
            watch=1,
        )
        late = np.stack(trained.watched[watched // 4 :])
        apart = late - late.mean(axis=1, keepdims=True)
        return (
            float(((late - at["best"]) ** 2).sum(axis=2).mean()),
            float((apart**2).sum(axis=2).mean()),
        )

    def deviation(name: Any, step: float) -> dict[str, float]:
        distance, apart = spread(name, step)
        return {"deviation": distance, "disagreement": apart}

    def slopes(name: Any) -> dict[str, float]:
        logs = np.log([spread(name, step) for step in steps])
        found = np.polyfit(np.log(steps), logs, 1)[0]
        return {"deviation_slope": float(found[0]), "disagreement_slope": float(found[1])}

    for name in ("diffusion", "consensus"):
        for step in steps:
            yield measure(name, partial(deviation, name, step), step=step)
        if len(steps) > 1:
            yield measure(name, partial(slopes, name))
