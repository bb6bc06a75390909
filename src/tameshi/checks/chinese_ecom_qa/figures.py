"""The plots of the report."""

from __future__ import annotations

from typing import Any

from tameshi.checks.chinese_ecom_qa.pipeline import STAGES
from tameshi.evaluation.ecom_qa.calibration import calibration
from tameshi.nouns import Rows, figure


@figure("chinese-ecom-qa", en="What no model is needed for, task by task", ja="モデルなしで取れる点（課題別）")
def beside_trivial(rows: Rows) -> Any:
    """Accuracy of the models and of the best policy without one."""
    held = rows.where(check="separation", metric="correct")
    tasks = [str(t) for t in held.levels("task")]
    if not tasks:
        return None
    made, axes = _axes("", "accuracy")
    names = [m for m in ("trivial policy", "model", "larger", "distilled") if m in held.methods]
    width = 0.8 / len(names)
    for shift, name in enumerate(names):
        means = [held.where(method=name, task=t).mean("correct") for t in tasks]
        axes.bar([x + shift * width for x in range(len(tasks))], means, width=width, label=name)
    axes.set_xticks([x + 0.4 - width / 2 for x in range(len(tasks))], tasks)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    return made


@figure("chinese-ecom-qa", en="Stated confidence and being right", ja="申告された確信度と実際の正解率")
def calibrated(rows: Rows) -> Any:
    """Accuracy in ten bins of stated confidence; below the diagonal is over-confident."""
    held = rows.where(check="separation", asked="confidence")
    if not held.numbers("stated"):
        return None
    made, axes = _axes("stated confidence", "accuracy")
    for name in held.methods:
        stated, over = (held.where(method=name).numbers(metric) for metric in ("stated", "overconfidence"))
        bins = calibration(stated, [s - o > 0.5 for s, o in zip(stated, over, strict=True)]) if stated else []
        axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], marker="o", label=name)
    axes.axline((0, 0), slope=1, color="0.7", linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False)
    return made


@figure("chinese-ecom-qa", en="Retrieval lifts whoever knows little", ja="検索は知識の少ない者ほど押し上げる")
def lifted(rows: Rows) -> Any:
    """Accuracy with and without passages, by what a shopper knows."""
    held = rows.where(check="shoppers", metric="answered")
    levels = [float(level) for level in held.levels("knowledge")]
    if not levels:
        return None
    made, axes = _axes("share of the facts that is known", "accuracy on categories and brands")
    for name in held.methods:
        means = [held.where(method=name, knowledge=level).mean("answered") for level in levels]
        axes.plot(levels, means, marker="o", label=name)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    return made


@figure("chinese-ecom-qa", en="Flawed questions left after each stage", ja="各段階のあとに残る欠陥問題")
def stages(rows: Rows) -> Any:
    """What is left of the flawed questions, and lost of the good ones."""
    held = rows.where(check="cleaning")
    if not len(held):
        return None
    made, axes = _axes("", "share")
    names = [n for n in (*STAGES, "random removal") if n in held.methods]
    for shift, metric in enumerate(("flawed kept", "good lost")):
        means = [held.where(method=n).mean(metric) for n in names]
        axes.barh([y + 0.4 * shift for y in range(len(names))], means, height=0.4, label=metric)
    axes.set_yticks([y + 0.2 for y in range(len(names))], names)
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return made


def _axes(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    made = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = made.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes
