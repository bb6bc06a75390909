"""`tameshi apply graph-adversarial`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from tameshi.doors.files import write
from tameshi.graphs import RobustNetworkClassifier, robust_accuracy
from tameshi.nouns import apply
from tameshi.specimens.labelled import Labelled


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
