"""A check: a function from subjects and a seed to measurements. Its signature is its command line.

    @check("q-filters", seeds=3)
    def streaming(model: CausalLM = "specimen:modes", *, caps: tuple[int, ...] = (64, 128), seed: int = 0):
        \"\"\"Perplexity of long documents read under a hard cap on the cache.\"\"\"
        for cap in caps:
            for name in policies:
                yield measure(name, partial(read_under_cap, model, name, cap), cap=cap)

A check does no work itself: it names the work, and the bench does it, stores the row, and skips what is already stored. So
walking a check must cost next to nothing, and whatever takes time (fitting, training) stands inside the work, behind
`functools.cache` where several measurements share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tameshi.nouns.rows import Items, Missing, Rows, Scalar

Measured = Mapping[str, "float | bool | Missing | Items | Sequence[float | bool | Missing]"]


@dataclass(frozen=True)
class Measurement:
    """Work that gives one row.

    Args:
        method: the method, baseline or control.
        work: does it; returns metric -> number, or a sequence with one number per item, or `Items`.
        conditions: under which it is taken; numbers, words or booleans.
        block: which part of the items, where a check splits long work so that less is lost by a kill.
    """

    method: str
    work: Callable[[], Measured]
    conditions: Mapping[str, Scalar]
    block: int = 0


def measure(method: str, work: Callable[[], Measured], /, *, block: int = 0, **conditions: Scalar) -> Measurement:
    """Name one piece of work: `yield measure("random", partial(read, model, "random"), cap=64)`."""
    return Measurement(method, work, conditions, block)


@dataclass(frozen=True)
class Check:
    """A check function with the paper it belongs to and the number of seeds it asks for."""

    slug: str
    function: Callable[..., Iterator[Measurement]]
    seeds: int

    @property
    def name(self) -> str:
        return self.function.__name__


@dataclass(frozen=True)
class Apply:
    """A function that does the method to the user's own model or data. Its signature is its command line."""

    slug: str
    function: Callable[..., Any]
    name: str


@dataclass(frozen=True)
class Figure:
    """A plot for the report, drawn from the stored rows of a run and nothing else."""

    slug: str
    function: Callable[[Rows], Any]
    title: Mapping[str, str]


def check(slug: str, *, seeds: int = 1) -> Callable[[Callable[..., Iterator[Measurement]]], Check]:
    """Make a function the check of a paper; it runs once per seed, `seeds` times unless the user says otherwise."""

    def decorate(function: Callable[..., Iterator[Measurement]]) -> Check:
        return Check(slug, function, seeds)

    return decorate


def apply(slug: str, name: str = "") -> Callable[[Callable[..., Any]], Apply]:
    """Make a function the `tameshi apply SLUG` of a paper; with a name, `tameshi apply SLUG NAME`.

    The function returns what it made, as text for the reader (or a mapping, for `--json`); it raises ValueError with one
    sentence for every wrong input, before it writes anything.
    """

    def decorate(function: Callable[..., Any]) -> Apply:
        return Apply(slug, function, name)

    return decorate


def figure(slug: str, *, en: str, ja: str) -> Callable[[Callable[[Rows], Any]], Figure]:
    """Make a function `(rows) -> matplotlib Figure` a plot of the paper's report; its title stands in both languages.

    The function returns None where the rows it wants were not measured.
    """

    def decorate(function: Callable[[Rows], Any]) -> Figure:
        return Figure(slug, function, {"en": en, "ja": ja})

    return decorate
