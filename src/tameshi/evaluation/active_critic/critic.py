"""Active-Critic: a judge that is told no criteria, infers them from a few scored texts, and tunes its own prompt.

Xu, Hu and Jiang 2024, arXiv:2410.10724. Stage 1 infers the task and the criteria (`inference`); stage 2 chooses the
demonstrations, and if asked rewrites the instruction, by agreement with people (`choosing`). The paper's prompts and
sizes were not found: those here are ours.

The agreement on the examples that chose the prompt is far too high (by half a correlation with five labels), so a
critic reports `cv_agreement_`, in which every score comes from a critic that never saw its source.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tameshi.evaluation.accounting import Estimate, Ledger
from tameshi.evaluation.active_critic import inference
from tameshi.evaluation.active_critic.agreement import Agreement, Floats, agreement
from tameshi.evaluation.active_critic.choosing import Chosen, Judges, Search, anchor, choose, most_calls
from tameshi.evaluation.active_critic.labels import FEWEST_LABELS, as_examples, check_labels
from tameshi.evaluation.active_critic.prompts import CriticPrompt, Example, Mode, Scale
from tameshi.evaluation.active_critic.scoring import Judged, judge_all, judging, numbers
from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.messages import Ask
from tameshi.evaluation.secrets import redacted

if TYPE_CHECKING:
    from inspect_ai.model import Model
    from inspect_ai.scorer import Scorer


class ActiveCritic:
    """`ActiveCritic("openai/gpt-4o-mini").fit(examples, scores).predict(more)`.

    Args:
        judge: an Inspect model, its name, or any `async (messages) -> str`.
        mode: "fine" (a call for each criterion and one for all), "single_call", "coarse".
        n_candidates: prompts tried; the first has no demonstrations.
        n_demos: demonstrations, one from each third of the scores in turn.
        propose: rounds in which the instruction of the best prompt is rewritten and tried; 0 for none.
        samples: of each judgement, at temperature 1, whose scores are averaged; a single one is taken at temperature 0.
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
        propose: int = 0,
        samples: int = 1,
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
        if propose < 0 or samples < 1:
            raise ValueError(f"propose must be at least 0 and samples at least 1, got {propose} and {samples}")
        self.judge, self.mode, self.n_candidates, self.n_demos, self.nested = judge, mode, n_candidates, n_demos, nested
        self.propose, self.samples = propose, samples
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
        check_labels(held, people)
        scale = Scale.of([float(s) for s in people], self.scale)
        self._ledger = Ledger(self.max_calls) if self._books is None else self._books
        return wait(self._fit(held, people, scale))

    async def _fit(self, examples: Sequence[Example], people: Floats, scale: Scale) -> ActiveCritic:
        before, choice = self._ledger.calls.total(), partial(choose, *self._voices(), scale=scale, search=self._search)
        chosen = await choice(examples, people)
        self.inferred_, self.prompt_ = chosen.inferred, chosen.prompt
        self.selection_history_, self.circular_ = chosen.history, chosen.circular
        self.anchor_ = anchor(chosen.history)
        self.task_description_, self.criteria_ = chosen.prompt.task, chosen.prompt.criteria
        self.cv_agreement_, self.cv_unavailable_ = await self._nested(choice, examples, people)
        self.n_calls_ = self._ledger.calls.total() - before
        if self._ledger.left < 1:
            warnings.warn(
                f"the budget of {self._ledger.max_calls} calls was spent before the fit was over; the critic is the best "
                "found until then. Raise max_calls, or lower n_candidates, propose, samples or nested",
                UserWarning,
                stacklevel=4,
            )
        return self

    async def _nested(
        self, choice: Callable[..., Awaitable[Chosen]], examples: Sequence[Example], people: Floats
    ) -> tuple[Agreement | None, str]:
        """Agreement in which every score comes from a critic that was fitted without its source."""
        folds = self._folds([e.group for e in examples])
        if not folds:
            return None, "nested is 0" if self.nested == 0 else "there are not enough sources for two folds"
        _, judge = self._voices()
        judged = np.full(len(examples), np.nan)
        for inside in folds:
            outside = [i for i in range(len(examples)) if i not in inside]
            if len(outside) < FEWEST_LABELS or np.ptp(people[outside]) == 0:
                return None, "too few labels remain outside a fold; give more, or lower nested"
            chosen = await choice([examples[i] for i in outside], people[outside])
            judged[inside] = numbers(await judge(chosen.prompt, [examples[i] for i in inside]))
            if self._ledger.left < 1:
                return None, "the budget of calls was spent before the estimate was over"
        return agreement(people, judged), ""

    def _folds(self, groups: Sequence[str]) -> list[list[int]]:
        """Places of the examples that each fold leaves out, sources whole; none where there can't be two folds."""
        sources = sorted(set(groups))
        folds = min(self.nested, len(sources))
        if folds < 2:
            return []
        order = np.random.default_rng([self.random_state, 1]).permutation(len(sources))
        fold = {sources[s]: place % folds for place, s in enumerate(order)}
        return [[i for i, group in enumerate(groups) if fold[group] == k] for k in range(folds)]

    def predict(self, examples: Sequence[Example | Mapping[str, Any]]) -> Floats:
        """(n,) scores, NaN where the answer could not be read."""
        return numbers(self.judge_texts(examples))

    def judge_texts(self, examples: Sequence[Example | Mapping[str, Any]]) -> list[Judged]:
        """Scores with reasons and scores of the criteria."""
        prompt, (_, judge) = self._fitted(), self._voices()
        return wait(judge(prompt, as_examples(examples)))

    def score(self, examples: Sequence[Example | Mapping[str, Any]], scores: Sequence[float]) -> float:
        """Spearman's correlation with the scores of people; 0 where it is undefined."""
        return agreement(scores, self.predict(examples)).spearman

    def estimate(self, count: int, *, groups: Sequence[str] | None = None, criteria: int = inference.MOST) -> Estimate:
        """The most calls that fitting makes, by what they are for; repairs, retries and second readings of texts that
        speak to the judge aside.

        Args:
            count: of labels.
            groups: which source each label belongs to; each its own if None.
            criteria: that will be found; at most eight.
        """
        sources = [str(i) for i in range(count)] if groups is None else list(groups)
        each = (criteria + 1 if self.mode == "fine" else 1) * self.samples
        nested = 0
        for inside in self._folds(sources):
            outside = [s for i, s in enumerate(sources) if i not in inside]
            nested += len(inside) * each + sum(self._most(outside, each).values())
        return Estimate({k: n for k, n in {**self._most(sources, each), "honest estimate": nested}.items() if n})

    def _most(self, sources: Sequence[str], each: int) -> dict[str, int]:
        return most_calls(len(sources), len(set(sources)), each, self._search)

    @property
    def _search(self) -> Search:
        return Search(self.mode, self.n_candidates, self.n_demos, self.propose, self.random_state)

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

        judge = self.judge if isinstance(self.judge, str) else None
        return critic_scorer(redacted(self._fitted().to_json()), model_role, judge, self.samples)

    def _voices(self) -> tuple[Asker, Judges]:
        """The model as it infers and rewrites, and as it judges."""
        settings: dict[str, Any] = {
            "role": "critic",
            "ledger": self._ledger,
            "timeout": self.timeout,
            "attempts": self.attempts,
        }
        judge = judging(self.judge, samples=self.samples, **settings)
        ask = judge if self.samples == 1 else judging(self.judge, **settings)
        return ask, partial(judge_all, judge, seed=self.random_state, samples=self.samples)

    def _fitted(self) -> CriticPrompt:
        if not hasattr(self, "prompt_"):
            raise ValueError("this critic is not fitted yet; call fit(examples, scores) or load a saved one")
        return self.prompt_
