"""Accuracy over the strength of the attack, and distance over the size of the step."""

from __future__ import annotations

from typing import Any

import numpy as np

from tameshi.checks.graph_adversarial.rules import COOPERATIVE
from tameshi.nouns import Rows, figure

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
