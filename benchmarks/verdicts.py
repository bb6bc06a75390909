"""Is a verdict worth its name? Null worlds, coverage and power, by simulation.

    python benchmarks/verdicts.py [--runs 1000] [--simulations 2000] [--only nulls|coverage|power]

prints the tables of docs/statistics.md. In a null world the claim lies exactly on its bar, so *holds* is a false
alarm: it should come out in 2.5 % of the runs, and 6.5 % is the most that is accepted. For power an effect is put
where the verdicts say that half of such runs would miss it, and then where they say that so many units settle it four
times out of five.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tameshi.bench.contrasts import Leaf, contrast
from tameshi.bench.judge import judge
from tameshi.bench.statistics import (
    Evidence,
    Means,
    Table,
    correlated,
    improvement_interval,
    iqm_interval,
    mean_interval,
    newcombe,
    wilson,
)
from tameshi.nouns import (
    AllOf,
    Beats,
    Correlates,
    Difference,
    Items,
    Orders,
    OutOfReach,
    Ratio,
    Reaches,
    Row,
    Rows,
    Rule,
    Within,
)

Floats = NDArray[np.float64]
Rng = np.random.Generator

SHAPES: dict[str, Callable[[Rng, tuple[int, ...]], Floats]] = {  # all with mean 0 and standard deviation 1, but heavy
    "normal": lambda rng, size: rng.normal(size=size),
    "skewed": lambda rng, size: (rng.lognormal(0, 1, size) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e),
    "heavy": lambda rng, size: rng.standard_t(3, size) / math.sqrt(3),
    "mostly ties": lambda rng, size: rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=size) / math.sqrt(0.2),
}


@dataclass(frozen=True)
class World:
    """Where values come from.

    Args:
        items: per seed.
        seeds: how many.
        shape: of what differs between two methods on one item.
        effect: by how much the method is above the bar.
        by_seed: standard deviation of what all items of a seed share, where that of one item is 1.
        by_item: the same for what an item shares over seeds (the seeds then see the same items).
        group: items per group, and what they share, as by_seed.
    """

    items: int = 40
    seeds: int = 1
    shape: str = "normal"
    effect: float = 0.0
    by_seed: float = 0.0
    by_item: float = 0.0
    group: int = 1
    by_group: float = 0.0

    def differences(self, rng: Rng) -> Floats:
        """(seeds, items), of mean `effect`."""
        values = SHAPES[self.shape](rng, (self.seeds, self.items))
        values = values + self.by_seed * rng.normal(size=(self.seeds, 1)) + self.by_item * rng.normal(size=self.items)
        groups = rng.normal(size=(self.seeds, -(-self.items // self.group)))
        return self.effect + values + self.by_group * np.repeat(groups, self.group, axis=1)[:, : self.items]


def row(method: str, seed: int, values: Floats, world: World, metric: str = "v", **conditions: float) -> Row:
    """One row of a simulated run."""
    groups = [f"{seed}-{i // world.group}" for i in range(len(values))] if world.group > 1 else ()
    return Row("simulated", method, conditions, seed, values={metric: Items(values.tolist(), groups=groups)})


Maker = Callable[[Rng, World], Rows]


def difference(bar: float = 0.0) -> Maker:
    """The method is the baseline plus the bar, but for what differs by chance."""

    def rows(rng: Rng, world: World) -> Rows:
        common = rng.normal(size=(world.seeds, world.items))
        other = common + bar + world.differences(rng)
        sides = (("method", other), ("baseline", common))
        return Rows(row(name, s, side[s], world) for name, side in sides for s in range(world.seeds))

    return rows


def multiple(factor: float, gap: bool = False) -> Maker:
    """Both are positive with a long tail; the method's mean is `factor` times the baseline's."""

    def rows(rng: Rng, world: World) -> Rows:
        hard = rng.lognormal(0, 0.5, (world.seeds, world.items))
        full = rng.normal(2, 1, (world.seeds, world.items))
        baseline, method = (hard * rng.lognormal(-0.08, 0.4, hard.shape) for _ in range(2))
        method = method * (factor - world.effect)
        sides = {"method": full + method, "baseline": full + baseline, "full": full}
        if not gap:
            sides = {"method": method, "baseline": baseline}
        return Rows(row(name, s, side[s], world) for name, side in sides.items() for s in range(world.seeds))

    return rows


def yes_no(bar: float = 0.0, agree: float = 0.6) -> Maker:
    """Both say yes or no; on a share of the items they agree for certain."""

    def rows(rng: Rng, world: World) -> Rows:
        shape = (world.seeds, world.items)
        same = rng.random(shape) < agree
        shared = rng.random(shape) < 0.7
        lift = (bar + world.effect) / (1 - agree) / 2
        method = np.where(same, shared, rng.random(shape) < 0.5 + lift).astype(float)
        baseline = np.where(same, shared, rng.random(shape) < 0.5 - lift).astype(float)
        sides = (("method", method), ("baseline", baseline))
        return Rows(row(name, s, side[s], world) for name, side in sides for s in range(world.seeds))

    return rows


def level(bar: float, yes: bool = False) -> Maker:
    """One method, whose mean lies on the bar."""

    def rows(rng: Rng, world: World) -> Rows:
        values = bar + world.differences(rng)
        if yes:
            values = (rng.random(values.shape) < bar + world.effect).astype(float)
        return Rows(row("method", s, values[s], world) for s in range(world.seeds))

    return rows


def staircase(slope: float, steps: int = 5) -> Maker:
    """A metric along a condition, with noise."""

    def rows(rng: Rng, world: World) -> Rows:
        noise = rng.normal(size=(steps, world.seeds, world.items))
        return Rows(
            row("method", s, (slope + world.effect) * k + noise[k, s], world, step=k)
            for k in range(steps)
            for s in range(world.seeds)
        )

    return rows


def staircase_mean(slope: float, steps: int = 5) -> float:
    """The mean rank correlation in such a world."""
    rng = np.random.default_rng(1)
    table = slope * np.arange(steps) + rng.normal(size=(200_000, steps))
    ranks = stats.rankdata(table, axis=1) - (steps + 1) / 2
    return float((ranks @ (np.arange(steps) - (steps - 1) / 2)).mean() / ((steps**3 - steps) / 12))


def cloud(pearson: float) -> Maker:
    """Two metrics of one method, jointly normal."""

    def rows(rng: Rng, world: World) -> Rows:
        x = rng.normal(size=(world.seeds, world.items))
        r = min(pearson + world.effect, 0.999)
        y = r * x + math.sqrt(1 - r * r) * rng.normal(size=x.shape)
        return Rows(
            Row("simulated", "method", {}, s, values={"v": Items(x[s]), "w": Items(y[s])}) for s in range(world.seeds)
        )

    return rows


def ranked(pearson: float) -> float:
    """Spearman's coefficient of a bivariate normal."""
    return 6 / math.pi * math.asin(pearson / 2)


def several(names: tuple[str, ...]) -> Maker:
    """A method and several baselines, all the same but for chance."""

    def rows(rng: Rng, world: World) -> Rows:
        return Rows(row(name, s, world.differences(rng)[0], world) for name in names for s in range(world.seeds))

    return rows


def at_levels(levels: int) -> Maker:
    """Method and baseline under several conditions, new items under each."""

    def rows(rng: Rng, world: World) -> Rows:
        return Rows(
            row(name, s, world.differences(rng)[0], world, cap=k)
            for k in range(levels)
            for name in ("method", "baseline")
            for s in range(world.seeds)
        )

    return rows


BEATS = Beats("C", "method", "baseline", "v", "higher")
RATIO = Beats("C", "method", "baseline", "v", "lower", Ratio(0.65))
SLOPE = 0.3


def nulls() -> Iterator[tuple[str, Rule, Maker, World]]:
    """Every kind of rule, in worlds where it should not hold."""
    yield "Beats, by nothing", BEATS, difference(), World(items=20)
    yield "Beats, 5 items", BEATS, difference(), World(items=5)
    yield "Beats, lower is better", replace(BEATS, better="lower"), difference(), World(items=20)
    yield "Beats, skewed", BEATS, difference(), World(items=20, shape="skewed")
    yield "Beats, heavy tails", BEATS, difference(), World(items=20, shape="heavy")
    yield "Beats, mostly ties", BEATS, difference(), World(items=20, shape="mostly ties")
    yield "Beats, by 0.5", replace(BEATS, by=Difference(0.5)), difference(0.5), World(items=20)
    yield "Beats, by ratio 0.65", RATIO, multiple(0.65), World(items=20)
    yield "Beats, ratio of gaps", replace(RATIO, gap_to="full"), multiple(0.65, gap=True), World(items=20)
    yield "Beats, yes/no, 30 items", BEATS, yes_no(), World(items=30)
    yield "Beats, yes/no, 200 items", BEATS, yes_no(), World(items=200)
    yield "Beats, yes/no by 10 points", replace(BEATS, by=Difference(0.1)), yes_no(0.1), World(items=200)
    yield "Beats, yes/no, 3 seeds", BEATS, yes_no(), World(items=40, seeds=3)
    yield "Beats, groups of 5", BEATS, difference(), World(items=100, group=5, by_group=1.0)
    for seeds in (2, 3, 5, 10):
        for spread in (0.0, 0.2, 0.5, 2.0):
            world = World(items=30, seeds=seeds, by_seed=spread)
            yield f"Beats, {seeds} seeds, spread {spread}", BEATS, difference(), world
    for seeds in (3, 10):
        world = World(items=30, seeds=seeds, by_item=1.0)
        yield f"Beats, {seeds} seeds, same items", BEATS, difference(), world
        world = World(items=30, seeds=seeds, by_item=1.0, by_seed=0.5)
        yield f"Beats, {seeds} seeds, same items, spread 0.5", BEATS, difference(), world
    yield 'Beats, unit "seed", 3', replace(BEATS, unit="seed"), difference(), World(items=20, seeds=3, by_seed=1.0)
    yield 'Beats, unit "seed", 10', replace(BEATS, unit="seed"), difference(), World(items=20, seeds=10, by_seed=1.0)
    yield "Reaches a number", Reaches("C", "method", 2.0, "v", "higher"), level(2.0), World(items=20)
    yield "Reaches a number, skewed", Reaches("C", "method", 2.0, "v", "higher"), level(2.0), World(20, 1, "skewed")
    yield "Reaches a rate of 0.9", Reaches("C", "method", 0.9, "v", "higher"), level(0.9, yes=True), World(items=100)
    share = Reaches("C", "method", "baseline", "v", "lower", 0.9)
    yield "Reaches 0.9 of another", share, multiple(0.9), World(items=20)
    yield "Within 0.5", Within("C", "method", "baseline", "v", "higher", 0.5), difference(-0.5), World(items=20)
    yield "Within 10 points", Within("C", "method", "baseline", "v", "higher", 0.1), yes_no(-0.1), World(items=200)
    yield "Orders, above 0", Orders("C", "method", "v", "step", "rises"), staircase(0), World(items=20)
    yield (
        "Orders, above 0, 3 seeds",
        Orders("C", "method", "v", "step", "rises", unit="seed"),
        staircase(0),
        World(1, 3),
    )
    at_least = staircase_mean(SLOPE)
    yield "Orders, at a bar", Orders("C", "method", "v", "step", "rises", at_least), staircase(SLOPE), World(items=20)
    for n in (10, 20, 100):
        yield f"Correlates at 0, {n} items", Correlates("C", "method", "v", "w", 0.0), cloud(0.0), World(items=n)
        bar = Correlates("C", "method", "v", "w", ranked(0.5))
        yield f"Correlates at 0.48, {n} items", bar, cloud(0.5), World(items=n)
    yield "each of 2", replace(BEATS, each=("cap",)), at_levels(2), World(items=20)
    yield "each, 1 of 3 needed", replace(BEATS, each=("cap",), needed=1), at_levels(3), World(items=20)
    yield "each, 2 of 3 needed", replace(BEATS, each=("cap",), needed=2), at_levels(3), World(items=20)
    yield "2 baselines", replace(BEATS, baseline=("one", "two")), several(("method", "one", "two")), World(items=20)
    within = Within("C", "method", "baseline", "v", "higher", 0.0)
    yield "AllOf 2", AllOf("C", (BEATS, within)), difference(), World(items=20)
    reason = {"en": "too small", "ja": "小さすぎる"}
    yield "OutOfReach, rows exist", OutOfReach("C", reason, "--model", then=BEATS), difference(), World(items=20)


def false_alarms(rule: Rule, maker: Maker, world: World, runs: int, seed: int = 0) -> tuple[float, float]:
    """Share of runs in which the claim holds, and in which it fails."""
    rng = np.random.default_rng(seed)
    outcomes = [judge([rule], maker(rng, world))["C"].outcome for _ in range(runs)]
    return outcomes.count("holds") / runs, outcomes.count("fails") / runs


Covers = Callable[[Rng, int], bool]


def inside(evidence: Evidence, truth: float = 0.0) -> bool:
    """Whether an interval holds the truth."""
    return evidence.low <= truth <= evidence.high


def coverage() -> Iterator[tuple[str, Covers]]:
    """Every interval, as a function that draws a sample of n and says whether the interval held the truth."""
    for shape, draw in SHAPES.items():

        def plain(rng: Rng, n: int, draw: Callable[[Rng, tuple[int, ...]], Floats] = draw) -> bool:
            return inside(mean_interval(draw(rng, (n,))))

        yield f"mean, {shape}", plain

    def grouped(rng: Rng, n: int) -> bool:
        values = rng.normal(size=(n, 4)) + rng.normal(size=(n, 1))
        return inside(mean_interval(values.ravel(), clusters=np.repeat(np.arange(n), 4).tolist()))

    yield "mean, n groups of 4", grouped

    def ratio(rng: Rng, n: int) -> bool:
        hard = rng.lognormal(0, 0.5, n)
        pair = [hard * rng.lognormal(-0.08, 0.4, n) for _ in range(2)]
        interval = Means(pair).ratio([0.65, 0.0], [0.0, 1.0])[1]
        return interval is None or interval[0] <= 0.65 <= interval[1]

    yield "ratio of means (Fieller)", ratio

    def rates(rng: Rng, n: int) -> bool:
        same, shared = rng.random(n) < 0.6, rng.random(n) < 0.7
        first, second = (np.where(same, shared, rng.random(n) < p) for p in (0.6, 0.4))
        low, high = newcombe(Table.of(first, second))
        return low <= 0.4 * 0.2 <= high

    yield "difference of paired rates (Newcombe)", rates
    for p in (0.5, 0.9):

        def one_rate(rng: Rng, n: int, p: float = p) -> bool:
            low, high = wilson(int(rng.binomial(n, p)), n)
            return low <= p <= high

        yield f"rate of {p} (Wilson)", one_rate
    for r in (0.0, 0.5, 0.9):

        def agreeing(rng: Rng, n: int, r: float = r) -> bool:
            x = rng.normal(size=n)
            return inside(correlated(x, r * x + math.sqrt(1 - r * r) * rng.normal(size=n)), ranked(r))

        yield f"Spearman at {ranked(r):.2f}", agreeing

    def middle(rng: Rng, n: int) -> bool:
        low, high = iqm_interval(rng.normal(size=n), resamples=1_000, seed=int(rng.integers(2**31)))
        return low <= 0 <= high

    yield "interquartile mean (rliable)", middle

    def better(rng: Rng, n: int) -> bool:
        x, y = rng.normal(0.5, 1, n), rng.normal(0, 1, n)
        low, high = improvement_interval(x, y, resamples=1_000, seed=int(rng.integers(2**31)))
        return low <= stats.norm.cdf(0.5 / math.sqrt(2)) <= high

    yield "probability of improvement (rliable)", better


def seeded(seeds: int, spread: float, crossed: bool, rng: Rng) -> bool:
    """Whether the interval of a mean over seeds and items holds the truth."""
    world = World(items=30, seeds=seeds, by_seed=spread, by_item=float(crossed))
    names = list(range(30)) * seeds
    means = Means(world.differences(rng).ravel(), clusters=names, seeds=np.repeat(np.arange(seeds), 30).tolist())
    return inside(means.contrast([1.0]))


def powers() -> Iterator[tuple[str, Leaf, Maker, World]]:
    """Rules whose power statement is put to the test."""
    yield "Beats, 64 items", BEATS, difference(), World(items=64)
    yield "Beats, 8 items", BEATS, difference(), World(items=8)
    yield "Beats, skewed, 64 items", BEATS, difference(), World(items=64, shape="skewed")
    yield "Beats, skewed, 200 items", BEATS, difference(), World(items=200, shape="skewed")
    yield "Beats, heavy tails, 64 items", BEATS, difference(), World(items=64, shape="heavy")
    yield "Beats by ratio, 40 items", RATIO, multiple(0.65), World(items=40)
    yield "Beats, yes/no, 64 items", BEATS, yes_no(), World(items=64)
    yield "Beats, yes/no, 300 items", BEATS, yes_no(), World(items=300)
    yield "Within 10 points, 300 items", Within("C", "method", "baseline", "v", "higher", 0.1), yes_no(-0.1), World(300)
    yield 'Beats, unit "seed", 5', replace(BEATS, unit="seed"), difference(), World(items=20, seeds=5, by_seed=1.0)
    yield "Beats, 20 groups of 5", BEATS, difference(), World(items=100, group=5, by_group=1.0)
    yield "Reaches a rate of 0.7, 100 items", Reaches("C", "method", 0.7, "v", "higher"), level(0.7, True), World(100)
    yield "Correlates at 0.48, 60 items", Correlates("C", "method", "v", "w", ranked(0.5)), cloud(0.5), World(items=60)


def half_missed(rule: Leaf, maker: Maker, world: World, runs: int) -> tuple[float, float]:
    """(the effect that the typical run says half of such runs would miss, the share of runs in which it holds)."""
    rng = np.random.default_rng(1)
    pilots = [contrast(rule, maker(rng, world)) for _ in range(200)]
    stated = [abs((pilot.half_missed or pilot.bar) - pilot.bar) for pilot in pilots]
    effect = float(np.median(stated))
    if isinstance(rule, Correlates):  # the world is told Pearson's coefficient
        effect = 2 * math.sin(math.pi / 6 * (rule.at_least + effect)) - 0.5
    return effect, false_alarms(rule, maker, replace(world, effect=effect), runs, seed=2)[0]


def settled(rule: Leaf, maker: Maker, world: World, effect: float, runs: int) -> tuple[int, float]:
    """(the number of units said to settle an effect, the share of runs with as many in which it holds)."""
    rng = np.random.default_rng(3)
    planted = replace(world, effect=effect)
    pilots = [contrast(rule, maker(rng, planted)) for _ in range(200)]
    true = pilots[0].bar + pilots[0].side * effect
    if isinstance(rule, Correlates):
        true = ranked(0.5 + effect)
    units = int(np.median([pilot.units_for(true) or 0 for pilot in pilots]))
    by_seed = rule.unit == "seed"
    seeds, items = (units, planted.items) if by_seed else (planted.seeds, units * planted.group)
    planted = replace(planted, seeds=seeds, items=items)
    return units, false_alarms(rule, maker, planted, runs, seed=4)[0]


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--simulations", type=int, default=2_000)
    parser.add_argument("--only", choices=["nulls", "coverage", "power"])
    chosen = parser.parse_args()
    say = sys.stdout.write
    if chosen.only in (None, "nulls"):
        say("| null world | units | holds % | fails % |\n|---|---|---|---|\n")
        for name, rule, maker, world in nulls():
            held, failed = false_alarms(rule, maker, world, chosen.runs)
            behind = f"{world.items}" + (f" × {world.seeds} seeds" if world.seeds > 1 else "")
            say(f"| {name} | {behind} | {100 * held:.1f} | {100 * failed:.1f} |\n")
            sys.stdout.flush()
    if chosen.only in (None, "coverage"):
        say("\n| 95 % interval | n = 5 | n = 20 | n = 100 |\n|---|---|---|---|\n")
        for name, covers in coverage():
            rng = np.random.default_rng(5)
            shares = [np.mean([covers(rng, n) for _ in range(chosen.simulations)]) for n in (5, 20, 100)]
            say(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |\n")
            sys.stdout.flush()
        say("\n| mean over 30 items of each seed | 2 seeds | 3 seeds | 5 seeds | 10 seeds |\n|---|---|---|---|---|\n")
        for crossed in (False, True):
            for spread in (0.0, 0.2, 0.5, 2.0):
                rng = np.random.default_rng(6)
                shares = [
                    np.mean([seeded(seeds, spread, crossed, rng) for _ in range(chosen.simulations)])
                    for seeds in (2, 3, 5, 10)
                ]
                name = f"{'same' if crossed else 'new'} items, seeds spread by {spread}"
                say(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |\n")
                sys.stdout.flush()
    if chosen.only in (None, "power"):
        say("\n| rule | missed half the time at | holds % | settled by | holds % |\n|---|---|---|---|---|\n")
        for name, rule, maker, world in powers():
            effect, held = half_missed(rule, maker, world, chosen.runs)
            units, settled_held = settled(rule, maker, world, effect, chosen.runs)
            say(f"| {name} | {effect:.3g} | {100 * held:.0f} | {units} | {100 * settled_held:.0f} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
