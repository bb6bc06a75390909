"""What an active critic is held against: judges that are told, and scores that need no judge at all.

All have `predict(examples) -> scores`. Which of them saw labels is said in `uses_labels`: a comparison of a fitted
critic with judges that saw none is not like with like.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tameshi.evaluation.active_critic.agreement import Floats, expected_score
from tameshi.evaluation.active_critic.labels import as_examples
from tameshi.evaluation.active_critic.prompts import Criterion, CriticPrompt, Demonstration, Example, Scale
from tameshi.evaluation.active_critic.scoring import judge_all, numbers
from tameshi.evaluation.asking import Asker, wait
from tameshi.evaluation.judge import DATA, fence
from tameshi.evaluation.messages import Answer, system, user

Rows = Sequence[Example | Mapping[str, Any]]
FIVE = Scale(1.0, 5.0)
# Our own broad list: enough for most written tasks.
BROAD = (
    Criterion("relevance", "it says what was asked for, and little else", "beside the point", "to the point"),
    Criterion("accuracy", "what it states is right and follows from the source", "contradicts it", "all right"),
    Criterion("completeness", "nothing that matters is missing", "most is missing", "all is there"),
    Criterion("coherence", "its parts follow from each other", "falls apart", "reads as one"),
    Criterion("fluency", "its language is correct and natural", "hard to read", "as a good writer would put it"),
    Criterion("brevity", "it is no longer than it need be", "much padding", "no word too many"),
    Criterion("tone", "it suits its reader", "off-putting", "just right"),
    Criterion("specificity", "it is concrete rather than general", "empty phrases", "names and figures"),
)


@dataclass
class Prompted:
    """A judge with a prompt that nothing was fitted to.

    Args:
        ask: the model.
        prompt: what it is told.
        uses_labels: whether scores of people stand in it.
    """

    ask: Asker
    prompt: CriticPrompt
    uses_labels: bool = False

    def predict(self, examples: Rows) -> Floats:
        """(n,) scores, NaN where they could not be read."""
        return numbers(wait(judge_all(self.ask, self.prompt, as_examples(examples))))


def direct(ask: Asker, *, scale: Scale = FIVE) -> Prompted:
    """A score without any criteria."""
    return Prompted(ask, CriticPrompt("", (), (), scale, "coarse"))


def few_shot(
    ask: Asker, examples: Rows, scores: Sequence[float], *, scale: Scale | None = None, most: int = 5
) -> Prompted:
    """Scored examples and nothing else (the paper's plain variant): spread over the scores, at most five."""
    held = as_examples(examples)
    order = np.argsort(np.asarray(scores, dtype=np.float64), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
    demos = tuple(Demonstration(held[i], float(scores[i])) for i in chosen)
    found = Scale.of([float(s) for s in scores]) if scale is None else scale
    return Prompted(ask, CriticPrompt("", (), demos, found, "coarse"), uses_labels=True)


def fixed_criteria(ask: Asker, criteria: Sequence[Criterion], *, task: str = "", scale: Scale = FIVE) -> Prompted:
    """The rubric of the user, criterion by criterion: the passive critic."""
    return Prompted(ask, CriticPrompt(task, tuple(criteria), (), scale, "fine"))


class GEval:
    """G-Eval (Liu et al. 2023): one criterion, steps of evaluation, many short samples, their mean.

    Args:
        ask: the model; give it temperature 2, max_tokens 5, top_p 1 as the published code does.
        task: what is judged.
        criterion: with its definition.
        steps: of the evaluation.
        n: samples for each text.
        scale: of the scores.
        probabilities: instead of samples, one call a text, and the expected score Σ k·p(k) under the probabilities of
            its first token; give `ask` temperature 0, logprobs=True, top_logprobs=20, max_tokens 1.

    After `predict`, `unread_` holds the share of answers that held no number on the scale; they are left out of the
    mean, where the published code counts them as 0.
    """

    uses_labels = False

    def __init__(
        self,
        ask: Asker,
        task: str,
        criterion: Criterion,
        *,
        steps: Sequence[str] = (),
        n: int = 20,
        scale: Scale = FIVE,
        probabilities: bool = False,
    ) -> None:
        self.ask, self.n, self.scale, self.unread_ = ask, 1 if probabilities else n, scale, 0.0
        self._value = self._expected if probabilities else self._stated
        listed = "\n".join(f"{i}. {s}" for i, s in enumerate(steps, 1))
        self._rules = (
            f"{task}\n\nEvaluation criterion: {criterion.name} ({scale.low:g}-{scale.high:g}): {criterion.definition}\n\n"
            f"{'Evaluation steps:' + chr(10) + listed + chr(10) * 2 if listed else ''}{DATA} "
            f"Evaluation form (number ONLY): {criterion.name}:"
        )

    def predict(self, examples: Rows) -> Floats:
        """(n,) mean of the samples that could be read; NaN without one."""
        return wait(self._predict(as_examples(examples)))

    async def _predict(self, examples: Sequence[Example]) -> Floats:
        asked = []
        for e in examples:
            source = [fence(e.source, "source")] if e.source else []
            asked.append([system(self._rules), user("\n\n".join([*source, fence(e.output, "text under judgement")]))])
        told = await asyncio.gather(*(self.ask(a) for a in asked for _ in range(self.n)))
        read = np.array([self._value(t) if isinstance(t, Answer) else np.nan for t in told]).reshape(-1, self.n)
        held = np.isfinite(read)
        self.unread_ = float(1 - held.mean()) if read.size else 0.0
        counts = held.sum(axis=1)
        found: Floats = np.where(counts > 0, np.where(held, read, 0).sum(axis=1) / np.maximum(counts, 1), np.nan)
        return found

    def _stated(self, answer: Answer) -> float:
        return self._read(answer.text)

    def _expected(self, answer: Answer) -> float:
        held: dict[float, float] = {}
        for token, p in answer.first.items():
            value = self._read(token)
            if np.isfinite(value):
                held[value] = held.get(value, 0.0) + p  # "4" and " 4" are one score
        return expected_score(held) if held else float("nan")

    def _read(self, text: str) -> float:
        found = re.match(r"(?:[A-Za-z][A-Za-z ]{0,60}:)?\s*(\d+(?:\.\d+)?)", text.strip()[:200])
        value = float(found[1]) if found else np.nan
        return value if self.scale.low <= value <= self.scale.high else np.nan


class CalibratedLinear:
    """Scores of a fixed broad list of criteria, and a ridge regression on the labels: cheap, and hard to beat.

    Args:
        ask: the model.
        criteria: the list; eight broad ones if left out.
        penalty: of the ridge, on standardised scores.
        scale: of the criteria.
    """

    uses_labels = True

    def __init__(
        self, ask: Asker, *, criteria: Sequence[Criterion] = BROAD, penalty: float = 1.0, scale: Scale = FIVE
    ) -> None:
        self.prompt = CriticPrompt("", tuple(criteria), (), scale, "single_call")
        self.ask, self.penalty = ask, penalty

    def fit(self, examples: Rows, scores: Sequence[float]) -> CalibratedLinear:
        """Judge the examples and fit the weights."""
        self.weights_ = ridge(self._features(examples), np.asarray(scores, dtype=np.float64), self.penalty)
        return self

    def predict(self, examples: Rows) -> Floats:
        """(n,) scores."""
        mean, spread, weights, middle = self.weights_
        found: Floats = (self._features(examples) - mean) / spread @ weights + middle
        return found

    def _features(self, examples: Rows) -> Floats:
        judged = wait(judge_all(self.ask, self.prompt, as_examples(examples)))
        middle = (self.prompt.scale.low + self.prompt.scale.high) / 2  # a score that could not be read says nothing
        return np.array([[j.criteria.get(c.name, middle) for c in self.prompt.criteria] for j in judged])


def ridge(features: Floats, scores: Floats, penalty: float) -> tuple[Floats, Floats, Floats, float]:
    """Mean, spread and weights of the standardised features, and the mean score."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    z = (features - mean) / spread
    middle = float(scores.mean())
    weights = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ (scores - middle))
    return mean, spread, weights, middle


class Length:
    """The number of words (or of characters, in scripts without spaces): people and judges both follow it."""

    uses_labels = False

    def predict(self, examples: Rows) -> Floats:
        """(n,) lengths."""
        pattern = re.compile(r"[A-Za-z0-9']+|[^\sA-Za-z0-9]")
        return np.array([float(len(pattern.findall(e.output))) for e in as_examples(examples)])


class GPTScore:
    """Mean log-probability of the output given task and source, under a causal model in memory (Fu et al. 2023).

    Args:
        model, tokenizer: of transformers.
        task: stands before the source.
    """

    uses_labels = False

    def __init__(self, model: Any, tokenizer: Any, *, task: str = "") -> None:
        self.model, self.tokenizer, self.task = model, tokenizer, task

    def predict(self, examples: Rows) -> Floats:
        """(n,) mean log-probabilities, in nats a token; NaN for an output without tokens."""
        return np.array([self._one(e) for e in as_examples(examples)])

    def _one(self, example: Example) -> float:
        import torch

        before = self.tokenizer("\n".join(p for p in (self.task, example.source) if p) or "\n")["input_ids"]
        own = self.tokenizer(example.output, add_special_tokens=False)["input_ids"]
        if not own:
            return float("nan")
        longest = getattr(self.model.config, "max_position_embeddings", None)
        if longest is not None:
            before = before[-max(1, longest - len(own)) :]
        ids = torch.tensor([[*before, *own]], device=self.model.device)
        with torch.no_grad():
            logits = self.model(input_ids=ids).logits[0, len(before) - 1 : -1].float().log_softmax(-1)
        return float(logits.gather(1, ids[0, len(before) :, None]).mean())
