"""How a ball is split: two means of every ball of a generation at once.

Rows of one ball stand together, as a *run*: `order` lists the rows run by run, `starts` says where each run begins.
Rastogi et al. 2025, arXiv:2503.10539, split one ball after the other; all balls of a generation at once gives the same
balls, because no split depends on another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

LLOYD_STEPS = 20  # our choice; two means of one ball settle in 5 to 15


def grow_balls(
    rows: Floats,
    bins: Ints,
    weight: Floats,
    *,
    purity: float,
    min_size: float,
    enforce_min: bool = False,
) -> Ints:
    """Split one ball of all rows until every ball is pure or small.

    A ball is split if the share of its most frequent bin is below `purity` and it weighs at least twice `min_size`.
    The first seed of the two means is the row farthest from the centre, the second the row farthest from the first
    (our choice: no random number is needed, and the order of the rows does not matter). A ball whose rows all lie on
    one point is kept, and so is one that the two means leave whole.

    Args:
        rows: (rows, columns).
        bins: (rows,), the binned target.
        weight: (rows,), positive.
        purity: in (0, 1].
        min_size: rows (or weight), at least 1.
        enforce_min: refuse a split that makes a ball lighter than `min_size`.

    Returns:
        (rows,), the ball of each row, numbered from 0 without gaps.
    """
    labels = np.empty(len(rows), dtype=np.int64)
    rows = rows - rows.mean(axis=0)  # far from the origin, differences would lose their digits
    order = np.arange(len(rows))
    starts = np.zeros(1, dtype=np.int64)
    made = 0
    while len(order):
        share, size = purest(bins[order], weight[order], starts)
        split = (share < purity) & (size >= 2 * min_size)
        made = _close(labels, order, starts, ~split, made)
        order, starts = _keep(order, starts, split)
        if not len(order):
            break
        side, worked = _two_means(rows[order], weight[order], starts)
        if enforce_min:
            right = np.add.reduceat(np.where(side, weight[order], 0.0), starts)
            whole = np.add.reduceat(weight[order], starts)
            worked &= np.minimum(right, whole - right) >= min_size
        made = _close(labels, order, starts, ~worked, made)
        side = side[np.repeat(worked, sizes(starts, len(side)))]
        order, starts = _keep(order, starts, worked)
        order, starts = _divide(order, starts, side)
    return labels


def _two_means(rows: Floats, weight: Floats, starts: Ints) -> tuple[Flags, Flags]:
    """Two means of every ball at once: (which side each row falls on, which balls could be split)."""
    ball = np.repeat(np.arange(len(starts)), sizes(starts, len(rows)))
    first = rows[_farthest(rows, _means(rows, weight, starts), ball, starts)]
    second = rows[_farthest(rows, first, ball, starts)]
    worked = np.any(first != second, axis=1)
    whole, mass_of = sums(rows, weight, starts), np.add.reduceat(weight, starts)
    side = np.zeros(len(rows), dtype=np.bool_)
    moving = worked.copy()
    held: _Held | None = None
    for _ in range(LLOYD_STEPS):
        if not moving.any():
            break
        if held is None or moving.sum() < 0.7 * len(held.active):  # what has settled need not be looked at again
            held = _Held.of(rows, weight, starts, moving)
        active = held.active
        normal = second[active] - first[active]
        offset = np.einsum("ij,ij->i", normal, (first[active] + second[active]) / 2)
        new = _products(held.rows, normal, held.ball, held.starts) > offset[held.ball]
        changed = np.logical_or.reduceat(new != side[held.place], held.starts)
        side[held.place] = new
        right = np.where(new, held.weight, 0.0)
        right_sum, right_mass = sums(held.rows, right, held.starts), np.add.reduceat(right, held.starts)
        both = np.logical_or.reduceat(new, held.starts) & ~np.logical_and.reduceat(new, held.starts)
        worked[active] = both  # seeds that differ in their last digit may leave a side empty
        split = active[both]
        second[split] = right_sum[both] / right_mass[both, None]
        first[split] = (whole[split] - right_sum[both]) / (mass_of[split] - right_mass[both])[:, None]
        moving[active] = changed & both
    return side, worked


@dataclass(frozen=True)
class _Held:
    """The rows of the balls that still move, one ball after the other."""

    active: Ints  # which balls
    place: Ints  # where their rows stand among all
    rows: Floats
    weight: Floats
    ball: Ints  # of each row, counted among the active
    starts: Ints

    @classmethod
    def of(cls, rows: Floats, weight: Floats, starts: Ints, moving: Flags) -> _Held:
        place, local = _keep(np.arange(len(rows)), starts, moving)
        active = np.flatnonzero(moving)
        ball = np.repeat(np.arange(len(active)), sizes(local, len(place)))
        return cls(active, place, rows[place], weight[place], ball, local)


def _products(rows: Floats, vectors: Floats, ball: Ints, starts: Ints) -> Floats:
    """Inner product of each row with the vector of its ball, (rows,)."""
    if len(rows) > 100 * len(vectors):  # a matrix product a ball is quicker than to spread the vectors over the rows
        found = np.empty(len(rows))
        for start, size, vector in zip(starts, sizes(starts, len(rows)), vectors, strict=True):
            found[start : start + size] = rows[start : start + size] @ vector
        return found
    return np.asarray(np.einsum("ij,ij->i", rows, vectors[ball]))


def _farthest(rows: Floats, points: Floats, ball: Ints, starts: Ints) -> Ints:
    """For each ball, the index of its row farthest from the ball's point."""
    away = rows - points[ball]
    distance = np.einsum("ij,ij->i", away, away)
    largest = np.maximum.reduceat(distance, starts)
    hits = np.flatnonzero(distance == largest[ball])
    return hits[np.r_[True, ball[hits][1:] != ball[hits][:-1]]]


def sums(rows: Floats, weight: Floats, starts: Ints) -> Floats:
    """Weighted sum of the rows of each run, (runs, columns)."""
    runs = sparse.csr_array((weight, np.arange(len(rows)), np.r_[starts, len(rows)]), shape=(len(starts), len(rows)))
    return np.asarray(runs @ rows)


def _means(rows: Floats, weight: Floats, starts: Ints) -> Floats:
    return sums(rows, weight, starts) / np.add.reduceat(weight, starts)[:, None]


def purest(bins: Ints, weight: Floats, starts: Ints) -> tuple[Floats, Floats]:
    """(share of the most frequent bin, total weight) of each run."""
    lengths = sizes(starts, len(bins))
    run = np.repeat(np.arange(len(starts)), lengths)
    width = int(bins.max()) + 1
    size = np.add.reduceat(weight, starts)
    if width * len(starts) <= 4 * len(bins):
        table = np.bincount(run * width + bins, weights=weight, minlength=width * len(starts))
        return table.reshape(-1, width).max(axis=1) / size, size
    keys, inverse = np.unique(run * width + bins, return_inverse=True)
    mass = np.bincount(inverse, weights=weight)
    owner = keys // width
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    return np.maximum.reduceat(mass, first) / size, size


def sizes(starts: Ints, rows: int) -> Ints:
    """Rows of each run, (runs,), of so many rows in all."""
    return np.asarray(np.diff(np.r_[starts, rows]))


def _keep(order: Ints, starts: Ints, kept: Flags) -> tuple[Ints, Ints]:
    """(order, starts) of the runs that are kept."""
    lengths = sizes(starts, len(order))
    order = order[np.repeat(kept, lengths)]
    return order, np.r_[0, np.cumsum(lengths[kept])[:-1]].astype(np.int64)


def _close(labels: Ints, order: Ints, starts: Ints, done: Flags, made: int) -> int:
    """Number the balls that are done; how many there are now."""
    lengths = sizes(starts, len(order))
    number = made + np.cumsum(done) - 1
    rows = np.repeat(done, lengths)
    labels[order[rows]] = np.repeat(number, lengths)[rows]
    return made + int(done.sum())


def _divide(order: Ints, starts: Ints, side: Flags) -> tuple[Ints, Ints]:
    """Bring the rows of each side of each ball together."""
    if not len(order):
        return order, starts
    lengths = sizes(starts, len(order))
    key = 2 * np.repeat(np.arange(len(starts)), lengths) + side
    turn = np.argsort(key, kind="stable")
    key = key[turn]
    return order[turn], np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
