"""The instrument itself: labels, and policies that need no model, on drawn or official items; then models of yours."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tameshi.checks.finereason.drawn import Drawn, as_items, one_each, sets, worth
from tameshi.checks.finereason.endpoints import asked
from tameshi.evaluation import finereason as fr
from tameshi.evaluation.finereason.policies import CHECKING, TRANSITION, Policy, copy_the_start
from tameshi.nouns import Items, Measurement, check, measure
from tameshi.specimens.endpoint import Endpoint


@check("finereason")
def states(
    model: Endpoint | None = None,
    *,
    reasoning_model: Endpoint | None = None,
    items: int = 60,
    data: tuple[Path, ...] | None = None,
    max_calls: int = 2_000,
    limit: int | None = None,
    seed: int = 0,
) -> Iterator[Measurement]:
    """State checking, state transition and end to end: the instrument itself, policies that need no model, and your models.

    Args:
        model: a general model of your own; left out, the instrument alone is audited.
        reasoning_model: one to hold against it.
        items: of each kind of puzzle.
        data: official files (`sudoku_states.json` and its siblings), asked in place of drawn items.
        max_calls: of both models in all; the run does not start if it could take more.
    """
    count = items if limit is None else min(items, limit)
    drawn_sets = sets(count, seed, data)
    for name, drawn in drawn_sets.items():
        yield measure("solver", partial(_mismatches, drawn), puzzle=name)
        for policy, answers in TRANSITION.items():
            yield measure(f"null: {policy}", partial(_moves_of, drawn, answers), puzzle=name)
        for policy, answers in CHECKING.items():
            yield measure(f"null: {policy}", partial(_labels_of, drawn, answers), puzzle=name)
        yield measure("null: copy the start", partial(_solutions_of, drawn), puzzle=name)
    models = {"model": model, "reasoning model": reasoning_model}
    given = {name: endpoint for name, endpoint in models.items() if endpoint is not None}
    if given:
        yield from asked(
            given, {name: drawn for name, drawn in drawn_sets.items() if name != "sudoku 4x4"}, count, max_calls
        )


def _mismatches(drawn: Drawn) -> dict[str, Items]:
    """Whether the label differs from what the states one move further say: solvable exactly if one of them is."""
    items = drawn()
    wrong = [any(map(i.puzzle.solvable, i.puzzle.moves(i.current))) is not (i.status == "Solvable") for i in items]
    return {"mismatch": as_items([float(w) for w in wrong], items)}


def _moves_of(drawn: Drawn, policy: Policy) -> dict[str, Items]:
    items = drawn()
    return {
        "st_correct": as_items([worth(fr.score_st(policy(i), i)) for i in items], items),
        "st_strict": as_items([worth(fr.score_st(policy(i), i, strict=True)) for i in items], items),
    }


def _labels_of(drawn: Drawn, policy: Policy) -> dict[str, Items]:
    items = drawn()
    return {"sc_correct": as_items([worth(fr.score_sc(policy(i), i)) for i in items], items)}


def _solutions_of(drawn: Drawn) -> dict[str, Items]:
    """End to end, by our rule and by the official one, for every puzzle once."""
    items = one_each(drawn())
    texts = [copy_the_start(i.puzzle) for i in items]
    pairs = list(zip(items, texts, strict=True))
    return {
        "e2e_correct": as_items([worth(fr.score_e2e(t, i.puzzle)) for i, t in pairs], items),
        "e2e_official": as_items([worth(fr.score_e2e(t, i.puzzle, official=True)) for i, t in pairs], items),
    }
