"""Active-Critic: a judge that is told no criteria, infers them from a few scored texts, and tunes its own prompt.

Xu, Hu and Jiang 2024, arXiv:2410.10724. Stage 1 infers the task and the criteria (`inference`); stage 2 chooses the
demonstrations by agreement with people. The paper's prompts and sizes were not found: those here are ours.

The agreement on the examples that chose the prompt is far too high (by half a correlation with five labels), so a
critic reports `cv_agreement_`, in which every score comes from a critic that never saw its source.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.active_critic import inference
from tameshi.evaluation.active_critic.agreement import Agreement, Floats, agreement
from tameshi.evaluation.active_critic.prompts import CriticPrompt, Demonstration, Example, Mode, Scale
from tameshi.evaluation.active_critic.scoring import Judged, judge_all, numbers
from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.messages import Ask
from tameshi.evaluation.secrets import redacted

if TYPE_CHECKING:
    from inspect_ai.model import Model
    from inspect_ai.scorer import Scorer

FEWEST_LABELS, RECOMMENDED = 5, 20
HALVED_FROM = 12  # labels from which demonstrations and selection are separate halves


class NotEnoughLabels(ValueError):
    """Too few scored examples, or all of one source."""


class ConstantLabels(ValueError):
    """All scores are the same, so that nothing can agree with them."""


@dataclass(frozen=True)
class Tried:
    """One candidate prompt and what it scored on the selection examples."""

    demonstrations: tuple[str, ...]
    shown: float | None
    agreement: Agreement
    mean: float


class ActiveCritic:
    """`ActiveCritic("openai/gpt-4o-mini").fit(examples, scores).predict(more)`.

    Args:
        judge: an Inspect model, its name, or any `async (messages) -> str`.
        mode: "fine" (a call for each criterion and one for all), "single_call", "coarse".
        n_candidates: prompts tried; the first has no demonstrations.
        n_demos: demonstrations, one from each third of the scores in turn.
        nested: folds of the honest estimate `cv_agreement_`; 0 leaves it out, and its calls.
        max_calls: hard cap over everything; when it is reached, the best prompt so far stands, with a warning.
        scale: (low, high) if the scores do not tell.
        random_state: of splits, candidates and orders.
        timeout, attempts: of one call.
        ledger: where calls are counted, with its own limit; a new one for each fit if None.

    After `fit`: `task_description_, criteria_, prompt_, selection_history_, n_calls_, cv_agreement_ (or None),
    cv_unavailable_ (why), anchor_ (correlation of mean scores with the scores shown, over candidates)`.
    """

    uses_labels = True

    def __init__(
        self,
        judge: Model | Ask | str,
        *,
        mode: Mode = "fine",
        n_candidates: int = 8,
        n_demos: int = 3,
        nested: int = 3,
        max_calls: int = 1000,
        scale: tuple[float, float] | None = None,
        random_state: int = 0,
        timeout: float = 120.0,
        attempts: int = 3,
        ledger: Ledger | None = None,
    ) -> None:
        if mode not in ("fine", "single_call", "coarse"):
            raise ValueError(f"mode must be fine, single_call or coarse, got {mode!r}")
        if n_candidates < 1 or n_demos < 0 or nested < 0 or nested == 1:
            raise ValueError(
                f"n_candidates must be at least 1, n_demos at least 0, nested 0 or at least 2, got {n_candidates}, {n_demos}, {nested}"
            )
        self.judge, self.mode, self.n_candidates, self.n_demos, self.nested = judge, mode, n_candidates, n_demos, nested
        self.max_calls, self.scale, self.random_state = max_calls, scale, random_state
        self.timeout, self.attempts = timeout, attempts
        self._books = ledger
        self._ledger = Ledger(max_calls) if ledger is None else ledger

    def fit(
        self,
        examples: Sequence[Example | Mapping[str, Any]],
        scores: Sequence[float],
        groups: Sequence[str] | None = None,
    ) -> ActiveCritic:
        """Infer, choose, and estimate.

        Args:
            examples: with source and output.
            scores: of people, one for each.
            groups: which source each belongs to; by default its own group or source text.

        Raises:
            NotEnoughLabels: fewer than 5, or one source only.
            ConstantLabels: all the same.
        """
        held = as_examples(examples, groups)
        people = np.asarray(scores, dtype=np.float64)
        _check(held, people)
        scale = Scale.of([float(s) for s in people], self.scale)
        self._ledger = Ledger(self.max_calls) if self._books is None else self._books
        return wait(self._fit(held, people, scale))

    async def _fit(self, examples: Sequence[Example], people: Floats, scale: Scale) -> ActiveCritic:
        ask, before = self._asker(), self._ledger.calls.total()
        found, prompt, history, circular = await self._choose(ask, examples, people, scale)
        self.inferred_, self.prompt_, self.selection_history_, self.circular_ = found, prompt, history, circular
        self.anchor_ = _anchor(history)
        self.task_description_, self.criteria_ = prompt.task, prompt.criteria
        self.cv_agreement_, self.cv_unavailable_ = await self._nested(ask, examples, people, scale)
        self.n_calls_ = self._ledger.calls.total() - before
        if self._ledger.left < 1:
            warnings.warn(
                f"the budget of {self.max_calls} calls was spent before the fit was over; the critic is the best found until "
                "then. Raise max_calls, or lower n_candidates or nested",
                UserWarning,
                stacklevel=4,
            )
        return self

    async def _choose(
        self, ask: Asker, examples: Sequence[Example], people: Floats, scale: Scale
    ) -> tuple[inference.Inferred, CriticPrompt, tuple[Tried, ...], tuple[str, ...]]:
        rng = np.random.default_rng(self.random_state)
        order = rng.permutation(len(examples))
        found = await inference.infer(ask, [examples[i] for i in order], [float(people[i]) for i in order])
        bare = CriticPrompt(found.task, found.criteria, (), scale, self.mode)
        pool, selection = _halves(examples, rng)
        known: dict[int, Demonstration | None] = {}
        best: tuple[tuple[float, int], CriticPrompt, list[Judged], list[int]] | None = None
        history = []
        drawn = [_terciles(pool, people, self.n_demos, rng) for _ in range(1, self.n_candidates)]
        for turn, chosen in enumerate([[], *drawn]):
            if turn == 1:  # the first candidate needs none, and may be all that the budget allows
                places = sorted({place for each in drawn for place in each})
                asked = [self._demonstration(ask, bare, examples[i], float(people[i])) for i in places]
                known = dict(zip(places, await asyncio.gather(*asked), strict=True))
            demos = tuple(d for place in chosen if (d := known[place]) is not None)
            if turn and not demos:
                continue
            shown = {d.example.group for d in demos}
            apart = [i for i in selection if examples[i].group not in shown]
            if len(apart) < 2 or self._ledger.left < 1:
                continue
            candidate = replace(bare, demonstrations=demos)
            judged = await judge_all(ask, candidate, [examples[i] for i in apart], seed=self.random_state)
            if self._ledger.left < 1 and any(j.score is None for j in judged):
                break  # cut off in the middle: not comparable with the others
            told = agreement(people[apart], numbers(judged))
            mean = float(np.nanmean(numbers(judged))) if told.n else 0.0
            shown_mean = float(np.mean([d.score for d in demos])) if demos else None
            history.append(Tried(tuple(d.example.id for d in demos), shown_mean, told, mean))
            rank = (round(told.objective, 12), -len(demos))
            if best is None or rank > best[0]:
                best = (rank, candidate, judged, apart)
        if best is None:
            return found, bare, tuple(history), ()
        circular = _circular(best[2]) if len(bare.criteria) > 1 else ()
        kept = tuple(c for c in bare.criteria if c.name not in circular) or bare.criteria
        return found, replace(best[1], criteria=kept), tuple(history), circular

    async def _demonstration(
        self, ask: Asker, bare: CriticPrompt, example: Example, score: float
    ) -> Demonstration | None:
        """The example with the judge's own reason, kept if its score lies within one point of the people's."""
        (judged,) = await judge_all(ask, bare, [example], seed=self.random_state)
        if judged.score is None or abs(judged.score - score) > 1:
            return None
        return Demonstration(example, score, judged.reason)

    async def _nested(
        self, ask: Asker, examples: Sequence[Example], people: Floats, scale: Scale
    ) -> tuple[Agreement | None, str]:
        """Agreement in which every score comes from a critic that was fitted without its source."""
        groups = sorted({e.group for e in examples})
        folds = min(self.nested, len(groups))
        if folds < 2:
            return None, "nested is 0" if self.nested == 0 else "there are not enough sources for two folds"
        order = np.random.default_rng([self.random_state, 1]).permutation(len(groups))
        fold = {groups[g]: place % folds for place, g in enumerate(order)}
        judged = np.full(len(examples), np.nan)
        for k in range(folds):
            outside = [i for i, e in enumerate(examples) if fold[e.group] != k]
            inside = [i for i, e in enumerate(examples) if fold[e.group] == k]
            if len(outside) < FEWEST_LABELS or np.ptp(people[outside]) == 0:
                return None, "too few labels remain outside a fold; give more, or lower nested"
            _, prompt, _, _ = await self._choose(ask, [examples[i] for i in outside], people[outside], scale)
            judged[inside] = numbers(
                await judge_all(ask, prompt, [examples[i] for i in inside], seed=self.random_state)
            )
            if self._ledger.left < 1:
                return None, "the budget of calls was spent before the estimate was over"
        return agreement(people, judged), ""

    def predict(self, examples: Sequence[Example | Mapping[str, Any]]) -> Floats:
        """(n,) scores, NaN where the answer could not be read."""
        return numbers(self.judge_texts(examples))

    def judge_texts(self, examples: Sequence[Example | Mapping[str, Any]]) -> list[Judged]:
        """Scores with reasons and scores of the criteria."""
        return wait(judge_all(self._asker(), self._fitted(), as_examples(examples), seed=self.random_state))

    def score(self, examples: Sequence[Example | Mapping[str, Any]], scores: Sequence[float]) -> float:
        """Spearman's correlation with the scores of people; 0 where it is undefined."""
        return agreement(scores, self.predict(examples)).spearman

    def estimate(self, count: int, *, sources: int | None = None, criteria: int = inference.MOST) -> Estimate:
        """The most calls that fitting on `count` labels makes, repairs and retries aside.

        Args:
            count: of labels.
            sources: of them; as many as labels if None.
            criteria: that will be found; at most eight.
        """
        sources = count if sources is None else sources
        folds = min(self.nested, sources)
        inner = count - count // folds if folds > 1 else 0
        nested = folds * self._calls(inner, criteria) + count * self._each(criteria) if folds > 1 else 0
        return Estimate({"critic": self._calls(count, criteria), "estimate": nested})

    def _each(self, criteria: int) -> int:
        return criteria + 1 if self.mode == "fine" else 1

    def _calls(self, count: int, criteria: int) -> int:
        pool, selection = (count, count) if count < HALVED_FROM else (count // 2, count - count // 2)
        demos = min((self.n_candidates - 1) * self.n_demos, pool)
        return inference.calls(count) + (demos + self.n_candidates * selection) * self._each(criteria)

    def save(self, path: str | Path) -> Path:
        """Write the prompt as JSON; `ActiveCritic.load(path, judge)` reads it."""
        return self._fitted().save(path)

    @classmethod
    def load(cls, path: str | Path, judge: Model | Ask | str, **settings: Any) -> ActiveCritic:
        """A critic with a saved prompt.

        Raises:
            ValueError: not a saved critic.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        prompt = CriticPrompt.from_json(text)
        critic = cls(judge, **{"mode": prompt.mode, **settings})
        critic.prompt_, critic.task_description_, critic.criteria_ = prompt, prompt.task, prompt.criteria
        return critic

    def as_scorer(self, model_role: str = "grader") -> Scorer:
        """The critic as a scorer of any Inspect task; the judge is the model of the role, or else the critic's own."""
        from tameshi.evaluation.active_critic.tasks import critic_scorer

        return critic_scorer(
            redacted(self._fitted().to_json()), model_role, self.judge if isinstance(self.judge, str) else None
        )

    def _asker(self) -> Asker:
        return Asker(
            self.judge, role="critic", ledger=self._ledger, timeout=self.timeout, attempts=self.attempts, temperature=0
        )

    def _fitted(self) -> CriticPrompt:
        if not hasattr(self, "prompt_"):
            raise ValueError("this critic is not fitted yet; call fit(examples, scores) or load a saved one")
        return self.prompt_


def as_examples(rows: Sequence[Example | Mapping[str, Any]], groups: Sequence[str] | None = None) -> list[Example]:
    """Examples out of rows with "output" and, if there are, "source", "id" and "group".

    Raises:
        ValueError: a row without output, or not as many groups as rows.
    """
    if groups is not None and len(groups) != len(rows):
        raise ValueError(f"{len(rows)} examples need as many groups, got {len(groups)}")
    made = []
    for place, row in enumerate(rows):
        if isinstance(row, Example):
            example = row
        elif isinstance(row, Mapping) and isinstance(row.get("output"), str):
            source = str(row.get("source", ""))
            example = Example(str(row.get("id", place)), source, row["output"], str(row.get("group", "")))
        else:
            raise ValueError(f'example {place} needs a text under "output", got {type(row).__name__}')
        group = str(groups[place]) if groups is not None else example.group or example.source or example.id
        made.append(replace(example, group=group))
    return made


def _check(examples: Sequence[Example], people: Floats) -> None:
    if len(examples) != len(people):
        raise ValueError(f"{len(examples)} examples need as many scores, got {len(people)}")
    if not np.isfinite(people).all():
        raise ValueError("scores must be finite; leave out examples without one")
    if len(people) < FEWEST_LABELS:
        raise NotEnoughLabels(
            f"at least {FEWEST_LABELS} scored examples are needed, {RECOMMENDED} are better, got {len(people)}"
        )
    if len({e.group for e in examples}) < 2:
        raise NotEnoughLabels(
            "the examples come from one source; at least two are needed, so that none is on both sides"
        )
    if np.ptp(people) == 0:
        raise ConstantLabels(f"all scores are {people[0]:g}; examples that people scored differently are needed")


def _halves(examples: Sequence[Example], rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Places for demonstrations and for selection: halves by source, or everything twice where labels are few."""
    everything = list(range(len(examples)))
    groups = sorted({e.group for e in examples})
    if len(examples) < HALVED_FROM or len(groups) < 4:
        return everything, everything
    chosen: set[str] = set()
    taken = 0
    for g in rng.permutation(len(groups)):
        if taken >= len(examples) // 2:
            break
        chosen.add(groups[g])
        taken += sum(e.group == groups[g] for e in examples)
    return [i for i in everything if examples[i].group in chosen], [
        i for i in everything if examples[i].group not in chosen
    ]


def _terciles(pool: Sequence[int], people: Floats, count: int, rng: np.random.Generator) -> list[int]:
    """Places of demonstrations, one from each third of the pool's scores in turn."""
    ranked = sorted(pool, key=lambda i: (people[i], i))
    thirds = [list(part) for part in np.array_split(np.array(ranked), 3)]
    drawn: list[int] = []
    for turn in range(count):
        left = [i for i in thirds[turn % 3] if i not in drawn]
        if left:
            drawn.append(int(left[rng.integers(len(left))]))
    return drawn


def _circular(judged: Sequence[Judged]) -> tuple[str, ...]:
    """Criteria whose scores are the overall score over again."""
    read = [j for j in judged if j.score is not None and j.criteria]
    if len(read) < 5:
        return ()
    overall = np.array([j.score for j in read], dtype=np.float64)
    found = []
    for name in read[0].criteria:
        own = np.array([j.criteria.get(name, np.nan) for j in read])
        if (
            np.isfinite(own).all()
            and np.ptp(own) > 0
            and np.ptp(overall) > 0
            and abs(np.corrcoef(own, overall)[0, 1]) > 0.98
        ):
            found.append(name)
    return tuple(found) if len(found) < len(read[0].criteria) else ()


def _anchor(history: Sequence[Tried]) -> float | None:
    """Correlation of candidates' mean scores with the mean scores shown to them: near 1, the judge copies."""
    held = [(t.shown, t.mean) for t in history if t.shown is not None]
    if len(held) < 3:
        return None
    shown, mean = (np.array([h[k] for h in held]) for k in (0, 1))
    return float(np.corrcoef(shown, mean)[0, 1]) if np.ptp(shown) > 0 and np.ptp(mean) > 0 else None
