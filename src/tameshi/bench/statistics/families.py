"""Many claims at once: Holm's correction, and what several parts say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values (1979): the chance of one false alarm among all claims is held, not that of each.

    Args:
        p: name -> p-value.
    """
    adjusted: dict[str, float] = {}
    reached = 0.0
    for place, name in enumerate(sorted(p, key=lambda name: (p[name], name))):
        reached = max(reached, min(1.0, (len(p) - place) * p[name]))
        adjusted[name] = reached
    return adjusted


def at_least(needed: int, p: Sequence[float]) -> float:
    """p-value against "fewer than `needed` of these are true" (partial conjunction, Benjamini and Heller 2008).

    With all needed it is the largest p, with one needed Bonferroni's.
    """
    if not 1 <= needed <= len(p):
        raise ValueError(f"of {len(p)} parts between 1 and {len(p)} can be needed, got {needed}")
    return min(1.0, (len(p) - needed + 1) * sorted(p)[needed - 1])
