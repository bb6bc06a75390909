"""Shoppers who know a stated share of a generated shop's facts, with and without retrieval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from tameshi.evaluation.ecom_qa import retrieval, scoring
from tameshi.evaluation.ecom_qa.items import Item
from tameshi.evaluation.ecom_qa.scoring import Scored, score_items
from tameshi.evaluation.ecom_qa.shop import MOST_PER_TASK, Shop, Shopper, make_shop
from tameshi.nouns import Items, Measurement, Missing, check, measure

WEAK, STRONG = 0.25, 0.75


@check("chinese-ecom-qa", seeds=3)
def shoppers(
    *, knowledge: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0), per_task: int = 30, k: int = 3, seed: int = 0
) -> Iterator[Measurement]:
    """Shoppers who know a stated share of a generated shop's facts: does the score say so, and what does retrieval do?

    Args:
        knowledge: shares of the facts.
        per_task: questions on each of the ten tasks.
        k: passages that retrieval puts before a question.
    """
    if wrong := [s for s in knowledge if not 0 <= s <= 1]:
        raise ValueError(f"--knowledge is a share of the facts between 0 and 1, got {wrong[0]}")
    if not 1 <= per_task <= MOST_PER_TASK or k < 1:
        raise ValueError(f"--per-task must be 1 to {MOST_PER_TASK} and --k at least 1, got {per_task} and {k}")
    shop = cache(partial(make_shop, seed, per_task=per_task))
    for share in knowledge:
        yield measure("shopper", partial(_answered, shop, share, seed), knowledge=share)
    for share in (WEAK, 0.5, STRONG):
        for name, find in FINDERS.items():
            yield measure(name, partial(_with_passages, shop, share, find, k, seed), knowledge=share)
    for name, find in FINDERS.items():
        yield measure(name, partial(_spread, shop, find, k, seed))


def _correct(scored: Sequence[Scored | None]) -> Items:
    return Items(
        (Missing("no answer") if s is None else s.correct for s in scored),
        ids=(str(i) if s is None else s.item for i, s in enumerate(scored)),
    )


def _answered(shop: Callable[[], Shop], share: float, seed: int) -> dict[str, Any]:
    held, shopper = shop(), Shopper(shop(), share, seed=seed)
    scored = score_items(held.items, [shopper.answer(i) for i in held.items])
    found = scoring.summary(scored)
    return {"correct": _correct(scored), "macro": found.macro, "error": abs(found.macro - share)}


Find = Callable[[Item], list[str]]
Finder = Callable[[Shop, int, np.random.Generator], Find]


def _without(shop: Shop, k: int, rng: np.random.Generator) -> Find:
    return lambda item: []


def _retrieved(shop: Shop, k: int, rng: np.random.Generator) -> Find:
    index = retrieval.BM25(shop.passages)
    return lambda item: index(item.prompt, k)


def _random(shop: Shop, k: int, rng: np.random.Generator) -> Find:
    return lambda item: [shop.passages[i] for i in rng.integers(0, len(shop.passages), k)]


FINDERS: dict[str, Finder] = {
    "without retrieval": _without,
    "with retrieval": _retrieved,
    "with random passages": _random,
}


def _read_with(shop: Shop, share: float, find: Finder, k: int, seed: int) -> list[Scored | None]:
    passages = find(shop, k, np.random.default_rng([seed, 3]))
    shopper = Shopper(shop, share, seed=seed)
    items = [i for i in shop.items if i.task in retrieval.RETRIEVED]
    return list(score_items(items, [shopper.answer(i, passages(i)) for i in items]))


def _with_passages(shop: Callable[[], Shop], share: float, find: Finder, k: int, seed: int) -> dict[str, Items]:
    return {"answered": _correct(_read_with(shop(), share, find, k, seed))}


def _spread(shop: Callable[[], Shop], find: Finder, k: int, seed: int) -> dict[str, Items]:
    """How far a shopper who knows much stands above one who knows little, question by question."""
    strong, weak = (_read_with(shop(), share, find, k, seed) for share in (STRONG, WEAK))
    pairs = [(s, w) for s, w in zip(strong, weak, strict=True) if s is not None and w is not None]
    return {"gap": Items((float(s.correct) - float(w.correct) for s, w in pairs), ids=(s.item for s, _ in pairs))}
