"""FineReason as Inspect AI tasks: `inspect eval tameshi/finereason_sc -T puzzle=game24 --model openai/gpt-4o-mini`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import (
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    Value,
    accuracy,
    grouped,
    metric,
    scorer,
    stderr,
)
from inspect_ai.solver import TaskState

import tameshi.evaluation._inspect  # noqa: F401  says what to install
from tameshi.evaluation.finereason.generators import Kind
from tameshi.evaluation.finereason.items import Item, build_items, item_from_json
from tameshi.evaluation.finereason.official import read_official
from tameshi.evaluation.finereason.policies import CHECKING, TRANSITION, copy_the_start
from tameshi.evaluation.finereason.prompts import checking_prompt, solution_prompt, transition_prompt
from tameshi.evaluation.finereason.scoring import (
    Judged,
    Outcome,
    detection,
    read_status,
    score_e2e,
    score_sc,
    score_st,
)
from tameshi.evaluation.messages import Unparsed
from tameshi.evaluation.nulls import beside, null_policies, run_policies
from tameshi.evaluation.solving import answered, dataset, unscored, within


@task
def finereason_sc(
    puzzle: Kind = "sudoku",
    n: int = 100,
    size: int = 0,
    seed: int = 0,
    data: str | None = None,
    max_calls: int | None = None,
) -> Task:
    """State checking: can the state shown still reach a solution?

    Args:
        puzzle: sudoku, graph_coloring, game24 or logic_grid.
        n: how many items; of official data the first n, 0 for all.
        size: of a Sudoku, 4 or 9; of a graph, its vertices.
        seed: of the generator.
        data: a file of official items, `sudoku_states.json` and its siblings.
        max_calls: of the model; the task does not start if it would need more.
    """
    items = _drawn(puzzle, n, size, seed, data)
    nulls = run_policies(items, CHECKING, lambda item, text: _worth(score_sc(text, item)))
    samples = [_sample(item, checking_prompt(item), item.status, beside(nulls, i)) for i, item in enumerate(items)]
    return _task("sc", samples, checked(), max_calls)


@task
def finereason_st(
    puzzle: Kind = "sudoku",
    n: int = 100,
    size: int = 0,
    seed: int = 0,
    strict: bool = False,
    data: str | None = None,
    max_calls: int | None = None,
) -> Task:
    """State transition: the single move that comes next, with the true labels given.

    Args:
        puzzle, n, size, seed, data, max_calls: as for `finereason_sc`.
        strict: a move forward must also keep the puzzle solvable.
    """
    items = _drawn(puzzle, n, size, seed, data)
    nulls = run_policies(items, TRANSITION, lambda item, text: _worth(score_st(text, item, strict=strict)))
    samples = [_sample(item, transition_prompt(item), item.status, beside(nulls, i)) for i, item in enumerate(items)]
    return _task("st", samples, moved(strict), max_calls)


@task
def finereason_e2e(
    puzzle: Kind = "sudoku",
    n: int = 100,
    size: int = 0,
    seed: int = 0,
    official: bool = False,
    data: str | None = None,
    max_calls: int | None = None,
) -> Task:
    """End to end: the solution from the initial state alone; each puzzle once.

    Args:
        puzzle, n, size, seed, data, max_calls: as for `finereason_sc`.
        official: skip vertices without a colour, as the official check does.
    """
    items = _drawn(puzzle, n, size, seed, data, one_each=True)

    def worth(item: Item, text: str) -> float:
        return _worth(score_e2e(text, item.puzzle, official=official))

    def nothing(item: Item) -> str:
        return copy_the_start(item.puzzle)

    nulls = run_policies(items, {"copy the start": nothing}, worth)
    samples = [_sample(item, solution_prompt(item.puzzle), "solved", beside(nulls, i)) for i, item in enumerate(items)]
    return _task("e2e", samples, solved(official), max_calls)


@metric
def unsolvable_f1() -> Metric:
    """Precision, recall and F1 of detecting unsolvable states."""

    def compute(scores: list[SampleScore]) -> Value:
        found = detection(((s.sample_metadata or {})["status"], read_status(s.score.answer or "")) for s in scores)
        return {"precision": found.precision, "recall": found.recall, "f1": found.f1}

    return compute


@metric(scores="unreduced")
def error_types() -> Metric:
    """How often each kind of error occurs."""

    def compute(scores: list[SampleScore]) -> Value:
        kinds = [str((s.score.metadata or {}).get("error", "")) for s in scores]
        return {kind: float(kinds.count(kind)) for kind in sorted(set(kinds) - {""})}

    return compute


def _by_stage() -> Metric:
    """Accuracy at each part of the way to a solution, "stage 1" nearest to the start."""
    return grouped(accuracy(), "stage", all=False, name_template="stage {group_name}")


@scorer(metrics=[accuracy(), stderr(), grouped(accuracy(), "status"), _by_stage(), unsolvable_f1()])
def checked() -> Scorer:
    """Scores state checking."""
    return _scorer(lambda text, item: score_sc(text, item))


@scorer(metrics=[accuracy(), stderr(), grouped(accuracy(), "status"), _by_stage(), error_types()])
def moved(strict: bool = False) -> Scorer:
    """Scores state transition."""
    return _scorer(lambda text, item: score_st(text, item, strict=strict))


@scorer(metrics=[accuracy(), stderr(), error_types()])
def solved(official: bool = False) -> Scorer:
    """Scores whole solutions."""
    return _scorer(lambda text, item: score_e2e(text, item.puzzle, official=official))


def _scorer(judge: Callable[[str, Item], Judged]) -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        silent = unscored(state)
        if silent is not None:
            return silent
        text = state.output.completion
        judged = judge(text, item_from_json(state.metadata["item"]))
        if isinstance(judged, Unparsed):
            return Score.unscored(answer=text, explanation=judged.reason, metadata={"error": "unparsed"})
        error = judged.error
        return Score(value="C" if judged.correct else "I", answer=text, explanation=error, metadata={"error": error})

    return score


def _drawn(puzzle: Kind, n: int, size: int, seed: int, data: str | None, *, one_each: bool = False) -> list[Item]:
    """Items of the generator or of a file; with `one_each`, the first item of every puzzle."""
    if data is None:
        items = build_items(puzzle, n, seed, size=size)
        return _one_each(items) if one_each else items
    items = read_official(data)
    items = _one_each(items) if one_each else items
    return items[:n] if n else items


def _one_each(items: Sequence[Item]) -> list[Item]:
    return list({item.group: item for item in reversed(items)}.values())[::-1]


def _sample(item: Item, prompt: str, target: str, nulls: dict[str, float]) -> Sample:
    about = {"status": item.status, "depth": item.depth, "stage": item.stage, "open_cells": item.open_cells}
    metadata = {"item": item.to_json(), "group": item.group, **about, **nulls}
    return Sample(input=prompt, target=target, id=item.id, metadata=metadata)


def _task(name: str, samples: list[Sample], score: Scorer, max_calls: int | None) -> Task:
    books = within(max_calls, target=len(samples))
    held = dataset(samples, name=f"finereason_{name}")
    return Task(dataset=held, solver=answered(books), scorer=[score, null_policies()])


def _worth(judged: Judged) -> float:
    return float(isinstance(judged, Outcome) and judged.correct)


__all__ = ["finereason_e2e", "finereason_sc", "finereason_st"]
