"""The plots of the report."""

from __future__ import annotations

from typing import Any

from tameshi.checks.chinese_ecom_qa.pipeline import STAGES
from tameshi.nouns import Rows, figure


@figure("chinese-ecom-qa", en="What no model is needed for, task by task", ja="モデルなしで取れる点（課題別）")
def beside_trivial(rows: Rows) -> Any:
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


@figure("chinese-ecom-qa", en="Retrieval lifts whoever knows little", ja="検索は知識の少ない者ほど押し上げる")
def lifted(rows: Rows) -> Any:
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
