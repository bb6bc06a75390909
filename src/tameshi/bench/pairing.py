"""From rows to units: which values of two methods belong together.

A unit is one item of one seed (and block), or the one number of a row. What is measured on it under several
conditions is averaged first, so that a unit counts once. Two rows are paired if they have the same seed and block and
contradict each other in no condition: a full cache has no cap, and is compared with every cap. Where several rows
would do, those that share most conditions are taken, and their mean.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tameshi.nouns.rows import Items, Missing, Row, Scalar, Value

Floats = NDArray[np.float64]
Unit = tuple[int, int, str]  # seed, block, id of the item ("" where the row has one number)
LARGEST = 1e100


@dataclass(frozen=True)
class Role:
    """Whose values are wanted: a method and one of its metrics."""

    method: str
    metric: str


@dataclass(frozen=True)
class Pairs:
    """Values that belong together, in the order of seed, block and id.

    Args:
        columns: (roles, units), finite.
        units: what each is, as (seed, block, id of the item).
        clusters: (units,), what must be taken as one: the group of an item where it has one, else the item itself.
            Both keep their cluster over seeds.
        kind: what the clusters are: "groups", "items", or "seeds" where each unit is one number of a row, or a seed's
            mean.
        missing: units left out because a value is missing.
        unpaired: units left out because they were measured on one side only.
        reasons: why values are missing, the most frequent first.
        broken: method -> how many of its values are not finite (or so large that their square is not). Those units are
            left out, too.
        errors: what ended in an error, as "method (seed 0): reason".
    """

    columns: Floats
    units: tuple[Unit, ...]
    clusters: tuple[str, ...]
    kind: str
    missing: int = 0
    unpaired: int = 0
    reasons: tuple[str, ...] = ()
    broken: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.units)

    @property
    def seeds(self) -> list[int]:
        """(units,), the seed of each."""
        return [unit[0] for unit in self.units]

    def by_seed(self) -> Pairs:
        """The mean of each seed's units: what is independent where seeds are."""
        seeds, of = np.unique(np.array(self.seeds, dtype=np.int64), return_inverse=True)
        sizes = np.bincount(of, minlength=len(seeds))
        sums = np.array([np.bincount(of, column, minlength=len(seeds)) for column in self.columns])
        names = tuple(str(s) for s in seeds)
        units = tuple((int(s), 0, "") for s in seeds)
        return replace(
            self,
            columns=sums.reshape(self.columns.shape[0], len(seeds)) / sizes,
            units=units,
            clusters=names,
            kind="seeds",
        )


def pair(
    rows: Iterable[Row],
    roles: Sequence[Role],
    *,
    check: str | None = None,
    where: Mapping[str, Scalar] | None = None,
) -> Pairs:
    """Bring the values of several roles together, unit by unit.

    Args:
        rows: of a run.
        roles: the first is the method that is judged; its rows must have every condition in `where`. Rows of the
            others must not contradict it.
        check: only rows of this check.
        where: only rows taken under these conditions.
    """
    where = where or {}
    mine = [row for row in rows if check is None or row.check == check]
    errors = tuple(
        f"{row.method} (seed {row.seed}): {row.error}"
        for row in mine
        if row.error is not None and row.method in {r.method for r in roles} and agrees(row, where)
    )
    sides = [
        [row for row in mine if row.method == r.method and r.metric in row.values and agrees(row, where)] for r in roles
    ]
    sides[0] = [row for row in sides[0] if all(name in row.conditions for name in where)]

    sums: dict[Unit, Floats] = defaultdict(lambda: np.zeros(len(roles)))
    counts: Counter[Unit] = Counter()
    groups: dict[Unit, str] = {}
    lost: set[Unit] = set()
    alone: set[Unit] = set()
    reasons: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    itemised = False
    for anchor in sides[0]:
        itemised = itemised or isinstance(anchor.values[roles[0].metric], Items)
        read = [_values(anchor, roles[0].metric)]
        read += [_mean_of(partners(anchor, side), role.metric) for role, side in zip(roles[1:], sides[1:], strict=True)]
        common = set(read[0]).intersection(*read[1:])
        alone.update((anchor.seed, anchor.block, item) for item in set().union(*read) - common)
        groups.update(_groups(anchor, roles[0].metric))
        for item in common:
            unit = (anchor.seed, anchor.block, item)
            values = [side[item] for side in read]
            gone = [v.reason for v in values if isinstance(v, Missing)]
            if gone:
                reasons.update(gone)
                lost.add(unit)
                continue
            numbers = [v for v in values if not isinstance(v, Missing)]
            bad = [role.method for role, v in zip(roles, numbers, strict=True) if not abs(v) < LARGEST]
            if bad:
                broken.update(bad)
                continue
            sums[unit] += numbers
            counts[unit] += 1
    units = sorted(sums)
    means = np.array([sums[u] / counts[u] for u in units]).reshape(len(units), len(roles)).T
    found = Pairs(
        means,
        tuple(units),
        _clusters(units, groups),
        "groups" if groups else "items",
        missing=len(lost - set(units)),
        unpaired=len(alone - set(units) - lost),
        reasons=tuple(reason for reason, _ in sorted(reasons.items(), key=lambda r: (-r[1], r[0]))),
        broken=dict(sorted(broken.items())),
        errors=tuple(sorted(errors)),
    )
    return found if itemised or not units else found.by_seed()


def stack(levels: Sequence[Pairs]) -> tuple[Pairs, Floats]:
    """Bring the first column of several pairings together.

    Returns:
        (what they have in common, (levels, units) values): only units that have a value at every level.
    """
    tables = [dict(zip(p.units, p.columns[0].tolist(), strict=True)) for p in levels]
    clusters = dict(zip(levels[0].units, levels[0].clusters, strict=True))
    common = [unit for unit in levels[0].units if all(unit in table for table in tables)]
    broken: Counter[str] = Counter()
    for p in levels:
        broken.update(p.broken)
    shared = replace(
        levels[0],
        columns=np.zeros((1, len(common))),
        units=tuple(common),
        clusters=tuple(clusters[unit] for unit in common),
        missing=max(p.missing for p in levels),
        unpaired=len(set().union(*tables)) - len(common),
        reasons=tuple(dict.fromkeys(reason for p in levels for reason in p.reasons)),
        broken=dict(sorted(broken.items())),
        errors=tuple(dict.fromkeys(error for p in levels for error in p.errors)),
    )
    return shared, np.array([[table[unit] for unit in common] for table in tables]).reshape(len(levels), len(common))


def agrees(row: Row, where: Mapping[str, Scalar]) -> bool:
    """Whether a row contradicts none of the conditions. One that it does not have does not contradict."""
    return all(row.conditions.get(name, value) == value for name, value in where.items())


def partners(anchor: Row, side: Sequence[Row]) -> list[Row]:
    """The rows of another method that are paired with this one."""
    fitting = [
        row for row in side if row.seed == anchor.seed and row.block == anchor.block and agrees(row, anchor.conditions)
    ]
    shared = [len(row.conditions.keys() & anchor.conditions.keys()) for row in fitting]
    return [row for row, s in zip(fitting, shared, strict=True) if s == max(shared)]


def _values(row: Row, metric: str) -> dict[str, Value]:
    value = row.values[metric]
    if isinstance(value, Items):
        return dict(zip(value.ids, value.values, strict=True))
    return {"": value}


def _groups(row: Row, metric: str) -> dict[Unit, str]:
    value = row.values[metric]
    if not isinstance(value, Items) or not value.groups:
        return {}
    return {(row.seed, row.block, i): g for i, g in zip(value.ids, value.groups, strict=True)}


def _mean_of(rows: Sequence[Row], metric: str) -> dict[str, Value]:
    read = [_values(row, metric) for row in rows]
    if len(read) == 1:
        return read[0]
    means: dict[str, Value] = {}
    for item in sorted(set().union(*read)) if read else ():
        found = [r[item] for r in read if item in r]
        gone = [v for v in found if isinstance(v, Missing)]
        means[item] = gone[0] if gone else math.fsum(v for v in found if not isinstance(v, Missing)) / len(found)
    return means


def _clusters(units: Sequence[Unit], groups: Mapping[Unit, str]) -> tuple[str, ...]:
    if groups:
        return tuple(groups.get(unit, unit[2]) for unit in units)
    if len({block for _, block, _ in units}) > 1:  # the third item of one block is not the third of another
        return tuple(f"{block}/{item}" for _, block, item in units)
    return tuple(item for _, _, item in units)
