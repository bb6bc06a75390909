"""Measured critical heat flux drawn apart: points to train on, to scale intervals with, and to test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tameshi.specimens.chf import in_si
from tameshi.specimens.table import Table
from tameshi.tabular.chf import within

Floats = NDArray[np.float64]

HELD = 300  # points for the conformal scale, taken from the test side and not scored by it


@dataclass(frozen=True)
class Split:
    """Training points, points held out for the conformal scale, test points; rows in SI, heat flux in kW/m2.

    Args:
        train, held, test: (rows, flux) each.
        ids: of the test points. groups: the reference that each test point comes from; empty where it is not known.
    """

    train: tuple[Floats, Floats]
    held: tuple[Floats, Floats]
    test: tuple[Floats, Floats]
    ids: tuple[str, ...]
    groups: tuple[str, ...]


def split(
    table: Table, columns: Mapping[str, str], units: Mapping[str, str], by: str, most: int, tests: int, seed: int
) -> Split:
    """Draw a split of the points inside both correlations' ranges, Biasi's range of outlet quality among them.

    Args:
        table, columns, units: as in `in_si`.
        by: "point" splits at random, "reference" keeps the points of one rig on one side.
        most: training points. tests: test points at most.
        seed: of the draw.

    Raises:
        ValueError: too few points, no references where they are asked for, or what `in_si` refuses.
    """
    X, y = in_si(table, columns=columns, units=units)
    inside = np.flatnonzero(within("biasi", X, y) & within("bowring", X))
    rng = np.random.default_rng([95, seed])
    if by == "reference":
        if not table.groups:
            raise ValueError(f"{table.name} does not say which reference a point comes from; use --split-by point")
        names = np.array(table.groups)[inside]
        rank = {name: place for place, name in enumerate(rng.permutation(np.unique(names)))}
        shuffled = rng.permutation(len(inside))
        order = inside[shuffled[np.argsort([rank[names[place]] for place in shuffled], kind="stable")]]
    else:
        order = rng.permutation(inside)
    if len(order) < most + HELD + 20:
        raise ValueError(
            f"{table.name} holds {len(order)} points inside the ranges of both correlations; {most} for training need "
            f"at least {most + HELD + 20}, so give smaller numbers"
        )
    train, held, test = order[:most], order[most : most + HELD], order[most + HELD :][:tests]
    groups = tuple(table.groups[row] for row in test) if table.groups else ()
    return Split((X[train], y[train]), (X[held], y[held]), (X[test], y[test]), tuple(map(str, test)), groups)
