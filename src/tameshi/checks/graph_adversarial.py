"""Adversarial training over a graph against training alone, in one place, and without attacks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import minimize

from tameshi.doors.files import write
from tameshi.graphs import (
    DecentralizedTrainer,
    RobustNetworkClassifier,
    erdos_renyi,
    pgd,
    robust_accuracy,
    train_linear,
)
from tameshi.graphs.attacks import random_search
from tameshi.graphs.combination import combination_matrix
from tameshi.graphs.linear_network import sample_draws
from tameshi.graphs.robust_classifier import robust_correct
from tameshi.nouns import (
    AllOf,
    Beats,
    Difference,
    Items,
    Measurement,
    OutOfReach,
    Reaches,
    Rows,
    Rule,
    apply,
    check,
    figure,
    measure,
)
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
    _refuse(strengths=strengths, count=count, train=train, iterations=iterations, step=step, epochs=epochs)
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
        yield from _networks(data, target, strengths, count, epochs, limit, seed)


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
    _refuse(steps=steps, watched=watched)
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


def _refuse(**options: Any) -> None:
    """ValueError, in one sentence, for an option with which nothing can be measured."""
    for name, value in options.items():
        least = {"strengths": 0.0, "train": 3, "watched": 4}.get(name, 1)
        for number in value if isinstance(value, tuple) else (value,):
            if name in ("step", "steps"):
                if not 0 < number < np.inf:
                    raise ValueError(f"--{name} must be above 0, got {number:g}")
            elif not least <= number < np.inf:
                raise ValueError(f"--{name} must be at least {least:g}, got {number:g}")
        if value == ():
            raise ValueError(f"--{name} needs at least one number")


def _networks(
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


COOPERATIVE = ("diffusion", "consensus")
SLOPES = {"deviation_slope": (0.8, 1.6), "disagreement_slope": (1.6, 2.2)}

RULES: list[Rule] = [
    AllOf(
        "C1",
        tuple(
            Beats(
                "C1",
                method,
                "clean",
                metric="robust_accuracy",
                better="higher",
                by=Difference(0.02),
                where={"strength": strength},
                control=("non-cooperative",),
                check="robustness",
            )
            for method in COOPERATIVE
            for strength in (0.6, 0.9)
        ),
    ),
    AllOf(
        "C2",
        tuple(
            Beats(
                "C2",
                method,
                "non-cooperative",
                metric="robust_accuracy",
                better="higher",
                each=("strength",),
                control=("clean-alone",),
                check="robustness",
            )
            for method in COOPERATIVE
        ),
    ),
    AllOf(
        "C3",
        (
            *(
                part
                for method in COOPERATIVE
                for metric, (low, high) in SLOPES.items()
                for part in (
                    Reaches("C3", method, low, metric=metric, better="higher", check="convergence"),
                    Reaches("C3", method, high, metric=metric, better="lower", check="convergence"),
                )
            ),
            Beats(
                "C3", "diffusion", "consensus", metric="deviation", better="lower", each=("step",), check="convergence"
            ),
        ),
    ),
    OutOfReach(
        "C4",
        {
            "en": "Convex models cannot show it: over the graph and in one place they reach the same minimiser (the rows say how closely).",
            "ja": "凸なモデルでは示せない。グラフ上でも一か所でも同じ最小解に達するからである（どれだけ近いかは測定値に示す）。",
        },
        "--deep",
        then=Beats(
            "C4",
            "diffusion-network",
            "central-network",
            metric="robust_accuracy",
            better="higher",
            each=("strength",),
            check="robustness",
        ),
    ),
]

COLOURS = {
    "diffusion": "#c0392b",
    "consensus": "#e67e22",
    "central": "#2c3e50",
    "non-cooperative": "#7f8c8d",
    "clean": "#2980b9",
    "clean-alone": "#aed6f1",
}


@figure("graph-adversarial", en="Accuracy under attack", ja="攻撃下の正解率")
def accuracy_by_strength(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    measured = rows.where(check="robustness", metric="robust_accuracy")
    pairs, levels = measured.levels("pair"), [float(s) for s in measured.levels("strength")]
    if not pairs:
        return None
    made = Figure(figsize=(4 * len(pairs), 3.6), layout="constrained")
    for pair, axes in zip(pairs, np.atleast_1d(made.subplots(1, len(pairs), sharey=True)), strict=True):
        for name, colour in COLOURS.items():
            values = [measured.where(method=name, pair=pair, strength=s).mean("robust_accuracy") for s in levels]
            style = "o--" if name.startswith("clean") else "o-"
            axes.plot(levels, values, style, color=colour, label=name, markersize=3)
        axes.set(title=str(pair), xlabel="strength of the attack (l2)", ylim=(0, 1.02))
    made.axes[0].set_ylabel("accuracy, mean over agents")
    made.axes[0].legend(fontsize=7)
    return made


@figure(
    "graph-adversarial",
    en="Distance from the robust minimiser over the step size",
    ja="ステップ幅と頑健な最小解からの距離",
)
def deviation_by_step(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    measured = rows.where(check="convergence", metric="deviation")
    levels = [float(s) for s in measured.levels("step")]
    if not levels:
        return None
    made = Figure(figsize=(5, 3.6), layout="constrained")
    axes = made.subplots()
    for name in COOPERATIVE:
        for metric, style in (("deviation", "o-"), ("disagreement", "s--")):
            values = [measured.where(method=name, step=s).mean(metric) for s in levels]
            axes.loglog(levels, values, style, color=COLOURS[name], label=f"{name}: {metric}")
    axes.set(xlabel="step size", ylabel="mean square")
    axes.legend(fontsize=7)
    return made


@apply("graph-adversarial")
def train_network(
    data: Path,
    *,
    target: str,
    output: Path,
    agents: str | None = None,
    strategy: Literal["diffusion", "consensus", "central", "none"] = "diffusion",
    eps: float = 0.5,
    norm: Literal["2", "inf", "1"] = "2",
    count: int = 20,
    iterations: int = 3000,
    step: float = 0.05,
) -> str:
    """Train a robust two-class linear model by agents on a random graph, and write it as JSON.

    Args:
        data: CSV, Parquet or .npz table, or a folder of MNIST or CIFAR-10.
        target: column of the labels (two classes).
        output: JSON to write: classes, mean model, every agent's model, combination matrix.
        agents: column that says whose each row is; by default rows are dealt out at random.
        strategy: how agents work together.
        eps: strength of the attacks in training.
        norm: of the attacks.
        count: of agents, where no column says.
        iterations: samples that every agent sees.
        step: size of a gradient step; inputs should have a length of about 1.
    """
    import json

    table = Labelled.open(str(data))
    examples = table.examples(target, agents)
    if agents is None and count > len(examples.labels):
        raise ValueError(f"{data} has {len(examples.labels)} rows, too few for {count} agents; lower --count")
    classifier = RobustNetworkClassifier(
        strategy=strategy,
        eps=eps,
        norm="inf" if norm == "inf" else int(norm),
        n_agents=count,
        iterations=iterations,
        step=step,
    )
    try:
        classifier.fit(examples.inputs, examples.labels, agents=examples.owners)
    except FloatingPointError as error:
        raise ValueError(str(error)) from error
    kept = {
        "classes": [str(c) for c in classifier.classes_],
        "coef": classifier.coef_[0].tolist(),
        "intercept": float(classifier.intercept_[0]),
        "agent_coef": classifier.agent_coef_.tolist(),
        "agent_intercept": classifier.agent_intercept_.tolist(),
        "combination": classifier.combination_.tolist(),
    }
    write(output, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")
    found = robust_accuracy(classifier, examples.inputs, examples.labels, (0.0, eps), classifier.norm)
    told = "; ".join(
        f"at strength {strength:g} agents are right on {both['agents']:.1%}, their mean model on {both['mean_model']:.1%}"
        for strength, both in found.items()
    )
    return f"{len(classifier.agent_coef_)} agents, written to {output}; on the training data, {told}"
