"""The plots of the report."""

from __future__ import annotations

from typing import Any

from tameshi.nouns import Rows, figure


@figure("finereason", en="State transition without look-ahead", ja="先読みなしの状態遷移")
def no_look_ahead(rows: Rows) -> Any:
    """What the policy without look-ahead scores by the official and by the strict rule."""
    from matplotlib.figure import Figure as Plot

    taken = rows.where(check="states", method="null: parent, else any legal move")
    if not len(taken):
        return None
    puzzles = [str(p) for p in taken.levels("puzzle")]
    plot = Plot(figsize=(7, 3.5))
    axes = plot.subplots()
    for shift, metric in ((-0.2, "st_correct"), (0.2, "st_strict")):
        heights = [taken.where(puzzle=p).mean(metric) for p in puzzles]
        axes.bar([i + shift for i in range(len(puzzles))], heights, 0.4, label=metric)
    axes.set(ylim=(0, 1), ylabel="share of items")
    axes.set_xticks(range(len(puzzles)), puzzles)
    axes.legend()
    return plot


@figure("finereason", en="State checking by open cells", ja="空きマス数ごとの状態判定")
def by_open_cells(rows: Rows) -> Any:
    """Accuracy of the small model, its untrained twin and the rule, by number of open cells."""
    from matplotlib.figure import Figure as Plot

    taken = rows.where(check="learnt")
    if not len(taken):
        return None
    plot = Plot(figsize=(6, 4))
    axes = plot.subplots()
    for method in taken.methods:
        mine = taken.where(method=method)
        points = [(float(e), mine.where(empties=e).mean("checked")) for e in mine.levels("empties")]
        axes.plot(*zip(*points, strict=True), marker="o", label=method)
    axes.axhline(0.5, linewidth=0.8, color="grey")
    axes.set(xlabel="open cells", ylabel="accuracy (chance 0.5)", ylim=(0.3, 1.02))
    axes.legend()
    return plot
