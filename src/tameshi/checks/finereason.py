"""FineReason: the instrument is audited always; the claims about language models need language models.

Two things are shown before any model is asked. State transition gives the true labels away, so that a policy without any
look-ahead scores full marks by the official rule (`states`). And a small model that has learnt to check states shows which of
the claims are about the task rather than about large models (`learnt`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from tameshi.evaluation import finereason as fr
from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.asking import wait
from tameshi.evaluation.finereason.policies import CHECKING, TRANSITION, Policy, copy_the_start, has_dead_cell
from tameshi.evaluation.finereason.scoring import Judged, Outcome
from tameshi.evaluation.messages import Answer, Unparsed, user
from tameshi.nouns import (
    AllOf,
    Beats,
    Difference,
    Items,
    Measurement,
    Missing,
    Orders,
    OutOfReach,
    Reaches,
    Rows,
    Rule,
    apply,
    check,
    figure,
    measure,
)
from tameshi.specimens import small_sudoku
from tameshi.specimens.endpoint import Endpoint

Question = Literal["sc", "st", "e2e"]
QUESTIONS: tuple[Question, ...] = ("sc", "st", "e2e")
SETS: dict[str, tuple[fr.Kind, int]] = {
    "sudoku 4x4": ("sudoku", 4),
    "sudoku": ("sudoku", 9),
    "graph_coloring": ("graph_coloring", 0),
    "game24": ("game24", 0),
    "logic_grid": ("logic_grid", 0),
}
EMPTIES = (2, 3, 4, 5, 6)


Drawn = Callable[[], Sequence[fr.Item]]
Answers = Callable[[], Sequence["str | Missing"]]


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
    sets = _sets(count, seed, data)
    for name, drawn in sets.items():
        yield measure("solver", partial(_mismatches, drawn), puzzle=name)
        for policy, answers in TRANSITION.items():
            yield measure(f"null: {policy}", partial(_moves_of, drawn, answers), puzzle=name)
        for policy, answers in CHECKING.items():
            yield measure(f"null: {policy}", partial(_labels_of, drawn, answers), puzzle=name)
        yield measure("null: copy the start", partial(_solutions_of, drawn), puzzle=name)
    models = {"model": model, "reasoning model": reasoning_model}
    given = {name: endpoint for name, endpoint in models.items() if endpoint is not None}
    if given:
        yield from _asked(
            given, {name: drawn for name, drawn in sets.items() if name != "sudoku 4x4"}, count, max_calls
        )


@check("finereason", seeds=3)
def learnt(*, per_count: int = 160, limit: int | None = None, seed: int = 0) -> Iterator[Measurement]:
    """State checking of 4x4 Sudoku by a small trained model, on as many solvable as unsolvable states per number of open cells.

    Args:
        per_count: states for each number of open cells.
    """
    count = per_count if limit is None else min(per_count, limit)
    test = cache(partial(_test_states, count, seed))
    for empties in EMPTIES:
        for method in ("small model", "untrained", "null: dead cell"):
            yield measure(method, partial(_checked, method, test, empties, seed), empties=empties)


def _asked(
    models: Mapping[str, Endpoint], sets: Mapping[str, Drawn], count: int, max_calls: int
) -> Iterator[Measurement]:
    estimate = Estimate({name: 3 * count * len(sets) for name in models}).check(max_calls)
    announce = cache(estimate.announce)
    for name, endpoint in models.items():
        ledger = Ledger(max_calls // len(models))  # retries stay within the share of each model
        for puzzle, drawn in sets.items():
            answers = {q: cache(partial(_ask, endpoint, ledger, announce, drawn, q)) for q in QUESTIONS}
            for question, ask in answers.items():
                yield measure(name, partial(_scored, drawn, ask, question), puzzle=puzzle, question=question)
            if name == "model":
                yield from _directions(drawn, answers["st"], puzzle)
                yield from _errors(drawn, answers["st"], puzzle)


def _sets(count: int, seed: int, data: Sequence[Path] | None) -> dict[str, Drawn]:
    if data:
        return {path.stem.removesuffix("_states"): cache(partial(_official, path, count)) for path in data}
    return {name: cache(partial(fr.build_items, kind, count, seed, size=size)) for name, (kind, size) in SETS.items()}


def _official(path: Path, count: int) -> list[fr.Item]:
    return fr.read_official(path)[:count]


def _items(values: Sequence[float | Missing], items: Sequence[fr.Item]) -> Items:
    return Items(values, [item.id for item in items], [item.group for item in items])


def _mismatches(drawn: Drawn) -> dict[str, Items]:
    """Whether the label differs from what the states one move further say: solvable exactly if one of them is."""
    items = drawn()
    wrong = [any(map(i.puzzle.solvable, i.puzzle.moves(i.current))) is not (i.status == "Solvable") for i in items]
    return {"mismatch": _items([float(w) for w in wrong], items)}


def _moves_of(drawn: Drawn, policy: Policy) -> dict[str, Items]:
    items = drawn()
    return {
        "st_correct": _items([_worth(fr.score_st(policy(i), i)) for i in items], items),
        "st_strict": _items([_worth(fr.score_st(policy(i), i, strict=True)) for i in items], items),
    }


def _labels_of(drawn: Drawn, policy: Policy) -> dict[str, Items]:
    items = drawn()
    return {"sc_correct": _items([_worth(fr.score_sc(policy(i), i)) for i in items], items)}


def _solutions_of(drawn: Drawn) -> dict[str, Items]:
    """End to end, by our rule and by the official one, for every puzzle once."""
    items = list({i.group: i for i in drawn()}.values())
    texts = [copy_the_start(i.puzzle) for i in items]
    pairs = list(zip(items, texts, strict=True))
    return {
        "e2e_correct": _items([_worth(fr.score_e2e(t, i.puzzle)) for i, t in pairs], items),
        "e2e_official": _items([_worth(fr.score_e2e(t, i.puzzle, official=True)) for i, t in pairs], items),
    }


def _worth(judged: Judged) -> float | Missing:
    return Missing(judged.reason) if isinstance(judged, Unparsed) else float(judged.correct)


def _test_states(count: int, seed: int) -> dict[int, list[small_sudoku.State]]:
    _, seen = small_sudoku.trained(seed=seed)
    return small_sudoku.balanced(count, EMPTIES, seed=seed + 1_000, without=seen)


def _checked(
    method: str, test: Callable[[], dict[int, list[small_sudoku.State]]], empties: int, seed: int
) -> dict[str, Items]:
    """Right answers; the n-th state with two open cells is matched with the n-th with three of the same label."""
    states = test()[empties]
    grids = [grid for grid, _ in states]
    if method == "null: dead cell":
        puzzle = fr.Sudoku([[0] * 4] * 4)
        said = [not has_dead_cell(puzzle, grid) for grid in grids]
    elif method == "untrained":
        said = small_sudoku.says_solvable(small_sudoku.untrained(seed=seed + 1_000), grids)
    else:
        said = small_sudoku.says_solvable(small_sudoku.trained(seed=seed)[0], grids)
    found = {"checked": Items(s is t for s, (_, t) in zip(said, states, strict=True))}
    unsolvable = [float(not s) for s, (_, t) in zip(said, states, strict=True) if not t]
    return found | {"unsolvable_recall": Items(unsolvable)}


def _ask(
    endpoint: Endpoint, ledger: Ledger, announce: Callable[[], None], drawn: Drawn, question: Question
) -> list[str | Missing]:
    announce()
    prompts: dict[Question, Callable[[fr.Item], str]] = {
        "sc": fr.checking_prompt,
        "st": fr.transition_prompt,
        "e2e": lambda item: fr.solution_prompt(item.puzzle),
    }
    items = drawn() if question != "e2e" else list({i.group: i for i in drawn()}.values())
    answers = wait(endpoint.asker(ledger=ledger).all([user(prompts[question](item))] for item in items))
    return [a.text if isinstance(a, Answer) else Missing(a.reason) for a in answers]


def _scored(drawn: Drawn, answers: Answers, question: Question) -> dict[str, Items]:
    items = drawn() if question != "e2e" else list({i.group: i for i in drawn()}.values())
    texts = answers()

    def each(judge: Callable[[str, fr.Item], Judged]) -> Items:
        pairs = zip(texts, items, strict=True)
        return _items([t if isinstance(t, Missing) else _worth(judge(t, i)) for t, i in pairs], items)

    if question == "sc":
        return {"sc_correct": each(fr.score_sc), "unsolvable_recall": _recall(items, texts)}
    if question == "st":
        return {"st_correct": each(fr.score_st), "st_strict": each(partial(fr.score_st, strict=True))}
    return {"e2e_correct": each(lambda text, item: fr.score_e2e(text, item.puzzle))}


def _recall(items: Sequence[fr.Item], texts: Sequence[str | Missing]) -> Items:
    pairs = [(i, t) for i, t in zip(items, texts, strict=True) if i.status == "Unsolvable"]
    values = [t if isinstance(t, Missing) else _worth(fr.score_sc(t, i)) for i, t in pairs]
    return _items(values, [item for item, _ in pairs])


def _directions(drawn: Drawn, answers: Answers, puzzle: str) -> Iterator[Measurement]:
    for name, status in (("forward", "Solvable"), ("backtracking", "Unsolvable")):
        yield measure(name, partial(_by_puzzle, drawn, answers, status), puzzle=puzzle)


def _by_puzzle(drawn: Drawn, answers: Answers, status: str) -> dict[str, Items]:
    """Share of right moves among the states of one label, for every puzzle that has states of both."""
    right: dict[str, dict[str, list[float]]] = {}
    for item, text in zip(drawn(), answers(), strict=True):
        worth = text if isinstance(text, Missing) else _worth(fr.score_st(text, item))
        if not isinstance(worth, Missing):
            right.setdefault(item.group, {}).setdefault(item.status, []).append(worth)
    both = {group: found[status] for group, found in right.items() if len(found) == 2}
    return {"direction": Items([sum(v) / len(v) for v in both.values()], both)}


def _errors(drawn: Drawn, answers: Answers, puzzle: str) -> Iterator[Measurement]:
    for error in ("backtracking failure", "sibling", "invalid move", "multiple moves", "unsolvable child"):
        yield measure(f"error: {error}", partial(_error_rate, drawn, answers, error), puzzle=puzzle)


def _error_rate(drawn: Drawn, answers: Answers, error: str) -> dict[str, Items]:
    items = drawn()
    judged = [t if isinstance(t, Missing) else fr.score_st(t, i) for i, t in zip(items, answers(), strict=True)]
    values: list[float | Missing] = [
        float(j.error == error) if isinstance(j, Outcome) else Missing(j.reason) for j in judged
    ]
    return {"error_made": _items(values, items)}


def _needs(en: str, ja: str, option: str, claim: str, then: Rule | None = None) -> OutOfReach:
    return OutOfReach(claim, {"en": en, "ja": ja}, option, then)


SUDOKU_SC: dict[str, Any] = {"puzzle": "sudoku", "question": "sc"}
SUDOKU_ST: dict[str, Any] = {"puzzle": "sudoku", "question": "st"}
SUDOKU_E2E: dict[str, Any] = {"puzzle": "sudoku", "question": "e2e"}

RULES: list[Rule] = [
    _needs(
        "It compares a general with a reasoning language model; no small model of ours is either.",
        "汎用の言語モデルと推論モデルの比較であり、付属の小さなモデルはどちらでもない。",
        "--model openai/NAME --reasoning-model openai/NAME",
        "C1",
        AllOf(
            "C1",
            (
                Reaches(
                    claim="C1",
                    check="states",
                    method="model",
                    metric="sc_correct",
                    target=0.6,
                    better="lower",
                    where=SUDOKU_SC,
                ),
                Beats(
                    claim="C1",
                    check="states",
                    method="reasoning model",
                    baseline="model",
                    metric="sc_correct",
                    better="higher",
                    by=Difference(0.1),
                    where=SUDOKU_SC,
                ),
            ),
        ),
    ),
    _needs(
        "It compares two language models that both fail end to end.",
        "どちらも通しでは解けない2つの言語モデルの比較である。",
        "--model openai/NAME --reasoning-model openai/NAME",
        "C2",
        AllOf(
            "C2",
            (
                *(
                    Reaches(
                        claim="C2",
                        check="states",
                        method=name,
                        metric="e2e_correct",
                        target=0.1,
                        better="lower",
                        where=SUDOKU_E2E,
                    )
                    for name in ("model", "reasoning model")
                ),
                Beats(
                    claim="C2",
                    check="states",
                    method="reasoning model",
                    baseline="model",
                    metric="st_correct",
                    better="higher",
                    by=Difference(0.1),
                    where=SUDOKU_ST,
                ),
            ),
        ),
    ),
    _needs(
        "It is about the optimism of large language models, for which a small model trained on this very question cannot stand.",
        "大規模言語モデルの楽観性についての主張であり、この問いだけを学習した小さなモデルでは代わりにならない。",
        "--model openai/NAME",
        "C3",
        Reaches(
            claim="C3",
            check="states",
            method="model",
            metric="unsolvable_recall",
            target=0.5,
            better="lower",
            where=SUDOKU_SC,
        ),
    ),
    _needs(
        "It needs a language model that writes whole states.",
        "状態を丸ごと書ける言語モデルが要る。",
        "--model openai/NAME",
        "C4",
        AllOf(
            "C4",
            (
                Beats(
                    claim="C4",
                    check="states",
                    method="forward",
                    baseline="backtracking",
                    metric="direction",
                    better="higher",
                    where={"puzzle": "sudoku"},
                ),
                Beats(
                    claim="C4",
                    check="states",
                    method="error: backtracking failure",
                    baseline=(
                        "error: sibling",
                        "error: invalid move",
                        "error: multiple moves",
                        "error: unsolvable child",
                    ),
                    metric="error_made",
                    better="higher",
                    where={"puzzle": "sudoku"},
                ),
            ),
        ),
    ),
    Orders(
        claim="C5",
        check="learnt",
        method="small model",
        metric="checked",
        along="empties",
        direction="falls",
        control=("untrained",),
    ),
    _needs(
        "Reinforcement learning of a language model of 1.5 billion parameters needs a GPU; training/finereason_grpo.py is the recipe.",
        "15億パラメータの言語モデルの強化学習にはGPUが要る。手順はtraining/finereason_grpo.pyにある。",
        "python training/finereason_grpo.py --model DIR --math FILE",
        "C6",
    ),
]


@figure("finereason", en="State transition without look-ahead", ja="先読みなしの状態遷移")
def no_look_ahead(rows: Rows) -> Any:
    """What the policy without look-ahead scores by the official and by the strict rule."""
    from matplotlib.figure import Figure as Plot

    taken = rows.where(check="states", method="null: parent, else any legal move")
    if not len(taken):
        return None
    puzzles = [str(p) for p in taken.levels("puzzle")]
    plot = Plot(figsize=(7, 3.5))
    axes = plot.subplots()
    for shift, metric in ((-0.2, "st_correct"), (0.2, "st_strict")):
        heights = [taken.where(puzzle=p).mean(metric) for p in puzzles]
        axes.bar([i + shift for i in range(len(puzzles))], heights, 0.4, label=metric)
    axes.set(ylim=(0, 1), ylabel="share of items")
    axes.set_xticks(range(len(puzzles)), puzzles)
    axes.legend()
    return plot


@figure("finereason", en="State checking by open cells", ja="空きマス数ごとの状態判定")
def by_open_cells(rows: Rows) -> Any:
    """Accuracy of the small model, its untrained twin and the rule, by number of open cells."""
    from matplotlib.figure import Figure as Plot

    taken = rows.where(check="learnt")
    if not len(taken):
        return None
    plot = Plot(figsize=(6, 4))
    axes = plot.subplots()
    for method in taken.methods:
        mine = taken.where(method=method)
        points = [(float(e), mine.where(empties=e).mean("checked")) for e in mine.levels("empties")]
        axes.plot(*zip(*points, strict=True), marker="o", label=method)
    axes.axhline(0.5, linewidth=0.8, color="grey")
    axes.set(xlabel="open cells", ylabel="accuracy (chance 0.5)", ylim=(0.3, 1.02))
    axes.legend()
    return plot


@apply("finereason")
def training_data(
    *,
    output: Path,
    puzzles: tuple[Literal["sudoku", "graph_coloring", "game24", "logic_grid"], ...] = (
        "sudoku",
        "graph_coloring",
        "game24",
    ),
    rows: int = 1_000,
    unsolvable: float = 0.5,
    size: int = 0,
    data_seed: int = 0,
) -> str:
    """Write training questions with sure answers as JSON Lines, for TRL's GRPO with `puzzle_reward`.

    Args:
        output: the file.
        puzzles: which engines, in equal parts.
        rows: how many questions.
        unsolvable: share of states that cannot be solved.
        size: of Sudokus, 4 or 9.
        data_seed: decides every row.
    """
    import json

    from tameshi.doors import files

    made = fr.training_set(puzzles, rows, data_seed, unsolvable=unsolvable, size=size)
    lines = (json.dumps(row, ensure_ascii=False) for row in made.to_list())
    files.write(output, "\n".join(lines) + "\n")
    counts = ", ".join(f"{kind} {n}" for kind, n in sorted(Counter(made["puzzle"]).items()))
    return f"{len(made):,} questions in {output}: {counts}"
