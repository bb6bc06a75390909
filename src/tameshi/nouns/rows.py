"""What a check measures: a row per method and condition, with one value per item wherever items exist.

A value that could not be had is `Missing` with a reason. It is never NaN, null or 0, so that an unparsable answer does not
become a wrong one. NaN itself stays NaN: a method that produces it has produced it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, overload

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Missing:
    """A value that could not be had, and why."""

    reason: str


Value = float | Missing


@dataclass(frozen=True)
class Items:
    """One value per item: document, question, head, test point.

    Args:
        values: the values, in a stated order.
        ids: what each item is, the same for every method measured on it; two methods are compared item by item. Left out, an
            item is its position.
        groups: what items share (a document, a family of puzzles), one per value. Items of a group are not independent, and
            the interval says so. Left out, every item stands alone.

    Raises:
        ValueError: ids or groups are not as many as the values, or an id stands twice.
    """

    values: tuple[Value, ...]
    ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __init__(
        self, values: Iterable[float | bool | Missing], ids: Iterable[object] = (), groups: Iterable[object] = ()
    ) -> None:
        object.__setattr__(self, "values", tuple(v if isinstance(v, Missing) else float(v) for v in values))
        object.__setattr__(self, "ids", tuple(str(i) for i in ids) or tuple(str(i) for i in range(len(self.values))))
        object.__setattr__(self, "groups", tuple(str(g) for g in groups))
        if len(self.ids) != len(self.values):
            raise ValueError(f"{len(self.values)} values need as many ids, got {len(self.ids)}")
        if len(set(self.ids)) != len(self.ids):
            twice = next(i for i in self.ids if self.ids.count(i) > 1)
            raise ValueError(f"an item's id must be its own, but {twice!r} stands twice")
        if self.groups and len(self.groups) != len(self.values):
            raise ValueError(f"{len(self.values)} values need as many groups, got {len(self.groups)}")

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Cost:
    """What one measurement cost.

    Args:
        cpu_seconds: of this process while the work ran.
        wall_seconds: by the clock.
        peak_bytes: memory above what was held when the work began; None where it cannot be told.
        cuda_bytes: the same on the GPU; None without one.
        busy: share of the time in which it could have worked but had to wait for a processor, in [0, 1]; None where it
            cannot be told.
    """

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_bytes: int | None = None
    cuda_bytes: int | None = None
    busy: float | None = None


@dataclass(frozen=True)
class Row:
    """One measurement of one method: what is stored, paired and judged.

    Args:
        check: name of the check function.
        method: the method, baseline or control, as the rules name it.
        conditions: under which it was taken ({"cap": 64}).
        seed: of the run.
        block: which part of the items, where a check splits them.
        values: metric -> one number, or `Items`.
        cost: seconds and memory.
        error: why there are no values, if the work did not end well.
    """

    check: str
    method: str
    conditions: Mapping[str, Scalar]
    seed: int
    block: int = 0
    values: Mapping[str, Value | Items] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    error: str | None = None

    @property
    def key(self) -> str:
        """Names the measurement within its run: the same work always has the same key."""
        return key_of(self.check, self.method, self.conditions, self.seed, self.block)

    def values_json(self) -> str:
        """The values as JSON that keeps NaN, infinities and reasons apart."""
        return json.dumps({name: _encode(v) for name, v in sorted(self.values.items())}, ensure_ascii=False)


def key_of(check: str, method: str, conditions: Mapping[str, Scalar], seed: int, block: int = 0) -> str:
    """The key of a measurement, independent of the order in which its conditions were written."""
    return json.dumps([check, dict(sorted(conditions.items())), method, seed, block], ensure_ascii=False)


def values_from_json(text: str) -> dict[str, Value | Items]:
    """Inverse of `Row.values_json`."""
    return {name: _decode(v) for name, v in json.loads(text).items()}


def _encode_value(value: Value) -> Any:
    if isinstance(value, Missing):
        return {"missing": value.reason}
    return value if math.isfinite(value) else {"float": repr(value)}


def _decode_value(value: Any) -> Value:
    if isinstance(value, dict):
        return Missing(value["missing"]) if "missing" in value else float(value["float"])
    return float(value)


def _encode(value: Value | Items) -> Any:
    if not isinstance(value, Items):
        return _encode_value(value)
    plain_ids = value.ids == tuple(str(i) for i in range(len(value)))
    items: dict[str, Any] = {"items": [_encode_value(v) for v in value.values]}
    if not plain_ids:
        items["ids"] = value.ids
    if value.groups:
        items["groups"] = value.groups
    return items


def _decode(value: Any) -> Value | Items:
    if isinstance(value, dict) and "items" in value:
        return Items((_decode_value(v) for v in value["items"]), value.get("ids", ()), value.get("groups", ()))
    return _decode_value(value)


class Rows(Sequence[Row]):
    """Rows of a run in the order of their keys, with the questions that rules and figures ask of them."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = sorted(rows, key=lambda row: row.key)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        return Rows(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def where(
        self,
        conditions: Mapping[str, Scalar] = MappingProxyType({}),
        /,
        *,
        check: str | None = None,
        method: str | None = None,
        metric: str | None = None,
        **more: Scalar,
    ) -> Rows:
        """The rows that fit all that is named. A condition that a row does not have does not fit."""
        wanted = {**conditions, **more}
        return Rows(
            row
            for row in self._rows
            if (check is None or row.check == check)
            and (method is None or row.method == method)
            and (metric is None or metric in row.values)
            and all(name in row.conditions and row.conditions[name] == value for name, value in wanted.items())
        )

    @property
    def methods(self) -> list[str]:
        """Every method once, in alphabetical order."""
        return sorted({row.method for row in self._rows})

    def levels(self, condition: str) -> list[Scalar]:
        """Every value of a condition once, ascending (numbers before words)."""
        found = {row.conditions[condition] for row in self._rows if condition in row.conditions}
        return sorted(found, key=lambda v: (isinstance(v, str), v))

    def numbers(self, metric: str) -> list[float]:
        """All numbers of a metric, over rows and items; missing ones are left out."""
        found: list[float] = []
        for row in self._rows:
            value = row.values.get(metric)
            parts = value.values if isinstance(value, Items) else () if value is None else (value,)
            found.extend(v for v in parts if not isinstance(v, Missing))
        return found

    def mean(self, metric: str) -> float:
        """Plain mean over rows and items; NaN if there are none."""
        found = self.numbers(metric)
        return math.fsum(found) / len(found) if found else math.nan
