"""Accuracy under attack: linear classifiers, exactly; and, asked for, networks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from tameshi.checks.graph_adversarial.networks import networks
from tameshi.checks.graph_adversarial.refusals import refuse
from tameshi.graphs import RobustNetworkClassifier, robust_accuracy
from tameshi.graphs.robust_classifier import robust_correct
from tameshi.nouns import Items, Measurement, check, measure
from tameshi.specimens.labelled import Examples, Labelled

METHODS: dict[str, dict[str, Any]] = {
    "diffusion": {"strategy": "diffusion"},
    "consensus": {"strategy": "consensus"},
    "central": {"strategy": "central"},
    "non-cooperative": {"strategy": "none"},
    "clean": {"strategy": "diffusion", "eps": 0.0},
    "clean-alone": {"strategy": "none", "eps": 0.0},
}


@check("graph-adversarial", seeds=10)
def robustness(
    data: Labelled = "specimen:digits",  # type: ignore[assignment]  # an address becomes a subject
    *,
    target: str = "label",
    agents: str | None = None,
    pairs: tuple[str, ...] = (),
    strengths: tuple[float, ...] = (0.0, 0.3, 0.6, 0.9, 1.2),
    count: int = 20,
    train: int = 240,
    iterations: int = 3000,
    step: float = 0.05,
    deep: bool = False,
    epochs: int = 40,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Exact accuracy under attack of linear classifiers, trained by agents with attacks of different strength.

    Every method sees the same samples in the same order on the same graph. A test input counts by the share of agents that
    are right on it under their own worst perturbation.

    Args:
        data: specimen:digits, a CSV, Parquet or .npz table, or a folder of MNIST or CIFAR-10.
        target: column of the labels.
        agents: column that says whose each row is; by default rows are dealt out at random.
        pairs: of classes to tell apart, like 3-8; by default two pairs of digits, or the two classes that there are.
        strengths: of the attacks (l2) when testing.
        count: of agents, where no column says.
        train: how many rows to train on; the rest are for testing.
        iterations: samples that every agent sees.
        step: size of a gradient step.
        deep: also train two-layer networks on all classes, over the graph and in one place, and attack them with PGD-20.
        epochs: of their training.
        limit: at most so many test inputs of a pair.
    """
    refuse(strengths=strengths, count=count, train=train, iterations=iterations, step=step, epochs=epochs)
    if agents is not None:
        data.column(agents, "--agents")
    pairs = pairs or data.usual_pairs(target)
    for pair in pairs:
        data.classes(pair, target)

    @cache
    def split(pair: str) -> tuple[Examples, Examples]:
        examples = data.pair(pair, target, agents)
        order = np.random.default_rng(seed).permutation(len(examples.labels))
        first = min(train, len(order) * 2 // 3)
        return tuple(  # type: ignore[return-value]  # of two
            Examples(examples.inputs[rows], examples.labels[rows], None if (o := examples.owners) is None else o[rows])
            for rows in (order[:first], order[first:][:limit])
        )

    @cache
    def trained(name: str, pair: str) -> RobustNetworkClassifier:
        known = split(pair)[0]
        owners = None if known.owners is None else np.unique(known.owners, return_inverse=True)[1]
        number = count if owners is None else int(owners.max()) + 1
        eps = np.random.default_rng([seed, 1]).uniform(0.2, 1.0, number)
        settings = {"eps": eps, "n_agents": number, "iterations": iterations, "step": step, **METHODS[name]}
        return RobustNetworkClassifier(**settings, fit_intercept=False, random_state=seed).fit(
            known.inputs, known.labels, agents=owners
        )

    def attacked(name: str, pair: str, strength: float) -> dict[str, Any]:
        classifier, unseen = trained(name, pair), split(pair)[1]
        right = robust_correct(classifier, unseen.inputs, unseen.labels, strength).mean(axis=0)
        both = robust_accuracy(classifier, unseen.inputs, unseen.labels, strength)[strength]
        return {
            "robust_accuracy": Items(right, [f"{pair}:{i}" for i in range(len(right))]),
            "mean_model_accuracy": both["mean_model"],
            "disagreement": classifier.disagreement_,
        }

    for pair in pairs:
        for strength in strengths:
            for name in METHODS:
                yield measure(name, partial(attacked, name, pair, strength), pair=pair, strength=strength)
    if deep:
        yield from networks(data, target, strengths, count, epochs, limit, seed)
