"""The plots of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from tameshi.checks.implicit_bias.measures import FAMILIES
from tameshi.nouns import Rows, figure


@figure(
    "implicit-bias",
    en="What each measure reads off a planted association",
    ja="植え込んだ連合を各指標がどう読むか",
)
def recovery(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    held = rows.where(check="planted", metric="value")
    worlds = [str(w) for w in held.levels("world")]
    if not worlds:
        return None
    made = Figure(figsize=(4.2 * len(worlds), 3.4), layout="constrained")
    for axes, world in zip(np.atleast_1d(made.subplots(1, len(worlds), sharey=True)), worlds, strict=True):
        for method in (*FAMILIES, "explicit"):
            mine = held.where(method=method, world=world)
            levels = [float(level) for level in mine.levels("planted")]
            means = [mine.where(planted=level).mean("value") for level in levels]
            axes.plot([2 * level - 1 for level in levels], means, marker="o", label=method)
        axes.axline((0, 0), slope=1, color="0.7", linestyle=":", label="the truth")
        axes.set(title=f"{world} world", xlabel="planted gap P(A|X) - P(A|Y)", ylabel="value")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    return made


@figure("implicit-bias", en="A planted rate through questions, with a fifth refused", ja="質問による測定（二割は拒否）")
def through_questions(rows: Rows) -> Any:
    from matplotlib.figure import Figure

    held = rows.where(check="scripted", method="assignment")
    if not len(held):
        return None
    made = Figure(figsize=(4, 3.2), layout="constrained")
    axes = made.subplots()
    expected = [float(e) for e in held.levels("expected")]
    for metric in ("d", "official d"):
        axes.plot(expected, [held.where(expected=e).mean(metric) for e in expected], marker="o", label=metric)
    axes.axline((0, 0), slope=1, color="0.7", linestyle=":")
    axes.set(xlabel="expected D", ylabel="measured D")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return made
