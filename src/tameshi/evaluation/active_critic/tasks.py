"""Active-Critic in Inspect AI: the agreement of a critic with people as a task, and a critic as a scorer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, get_model, model_roles
from inspect_ai.scorer import (
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    Value,
    krippendorff_alpha,
    mean,
    metric,
    scorer,
    stderr,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

from tameshi.evaluation.accounting import Ledger
from tameshi.evaluation.active_critic.agreement import agreement as agree
from tameshi.evaluation.active_critic.agreement import per_source
from tameshi.evaluation.active_critic.baselines import Length
from tameshi.evaluation.active_critic.data import read_rated
from tameshi.evaluation.active_critic.marked import PROMPT, marked_texts, marker_judge
from tameshi.evaluation.active_critic.prompts import CriticPrompt, Example
from tameshi.evaluation.active_critic.scoring import judge_one, judging
from tameshi.evaluation.provider import rule
from tameshi.evaluation.secrets import redacted
from tameshi.evaluation.solving import dataset as rated_dataset
from tameshi.evaluation.solving import within

rule("marker-judge")(marker_judge())


@task
def active_critic_eval(
    critic: Any = None,
    dataset: Any = None,
    score: str = "score",
    samples: int = 1,
    limit: int | None = None,
    max_calls: int | None = None,
) -> Task:
    """How far a saved critic agrees with people; the model of the task is the judge.

    Args:
        critic: path of a saved critic, or a fitted one; a plain rubric for the planted texts if left out.
        dataset: CSV or JSON file with source, output and score; planted texts if left out.
        score: column of the scores in it; several with commas between are averaged.
        samples: of each judgement, at temperature 1, whose scores are averaged, with Krippendorff's alpha of the samples;
            a single one is taken at temperature 0.
        limit: at most so many texts.
        max_calls: hard cap on calls, retries included.
    """
    prompt = PROMPT
    if critic is not None:
        held = getattr(critic, "prompt_", critic)
        prompt = held if isinstance(held, CriticPrompt) else CriticPrompt.from_json(_text(held))
    examples, scores = marked_texts() if dataset is None else read_rated(dataset, score=score)
    examples, scores = examples[:limit], scores[:limit]
    ledger = within(max_calls, target=len(examples) * prompt.calls * samples)
    rated = [
        Sample(
            input=f"{e.source}\n\n{e.output}" if e.source else e.output,
            target=f"{s:g}",
            id=e.id,
            metadata={"source": e.group, "human": s, "example": vars(e)},
        )
        for e, s in zip(examples, scores, strict=True)
    ]
    return Task(
        dataset=rated_dataset(rated),
        solver=judged(redacted(prompt.to_json()), ledger, samples),
        scorer=[judged_score(), unread(), length(), *([repeated()] if samples > 1 else [])],
    )


@solver
def judged(prompt: str, ledger: Ledger, samples: int = 1) -> Solver:
    """Judge the text of the sample; the score becomes the output."""
    held = CriticPrompt.from_json(prompt)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        ask = judging(get_model(), samples=samples, role="target", ledger=ledger)
        found = await judge_one(ask, held, Example(**state.metadata["example"]), samples=samples)
        state.store.set("unread", found.unread)
        state.store.set("samples", list(found.samples))
        state.store.set("criteria", dict(found.criteria))
        text = f"<score>{found.score:g}</score>\n{found.reason}" if found.score is not None else found.unread
        state.store.set("score", found.score)
        state.output = ModelOutput.from_content(str(state.model), text)
        return state

    return solve


@metric
def agreement() -> Metric:
    """Pearson, Spearman, Kendall, mean absolute error; Spearman within sources that have eight outputs or more."""

    def compute(scores: list[SampleScore]) -> Value:
        human = [float((s.sample_metadata or {})["human"]) for s in scores]
        critic = [s.score.as_float() for s in scores]
        found = agree(human, critic)
        told: dict[str, float] = {
            "pearson": found.pearson,
            "spearman": found.spearman,
            "kendall": found.kendall,
            "mean_absolute_error": found.error,
            "degenerate": float(found.degenerate),
        }
        within_sources = per_source(human, critic, [str((s.sample_metadata or {})["source"]) for s in scores])
        if within_sources is not None:
            told["spearman_within_sources"] = within_sources
        return told

    return compute


@metric
def spearman() -> Metric:
    """Spearman's correlation with people, over all texts."""

    def compute(scores: list[SampleScore]) -> Value:
        human = [float((s.sample_metadata or {})["human"]) for s in scores]
        return agree(human, [s.score.as_float() for s in scores]).spearman

    return compute


@scorer(metrics=[agreement(), mean()])
def judged_score() -> Scorer:
    """The critic's score; unscored where it could not be read."""

    async def score(state: TaskState, target: Target) -> Score:
        found = state.store.get("score")
        if found is None:
            return Score.unscored(explanation=str(state.store.get("unread")))
        return Score(value=float(found), explanation=state.output.completion, metadata=state.store.get("criteria"))

    return score


@scorer(metrics=[mean()])
def unread() -> Scorer:
    """1 for a text without a readable score."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=float(state.store.get("score") is None))

    return score


@scorer(metrics=[krippendorff_alpha("interval")])
def repeated() -> Scorer:
    """The score of every sample of the same judgement; its metric says how far they agree with each other."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=list(state.store.get("samples") or []))

    return score


@scorer(metrics=[spearman()])
def length() -> Scorer:
    """The number of words: what a critic must beat, whether or not the judge answered."""

    async def score(state: TaskState, target: Target) -> Score:
        (words,) = Length().predict([Example(**state.metadata["example"])])
        return Score(value=float(words))

    return score


@scorer(metrics=[mean(), stderr()])
def critic_scorer(prompt: str, model_role: str = "grader", judge: str | None = None, samples: int = 1) -> Scorer:
    """A fitted critic as a scorer: its score, with the reason and the scores of the criteria.

    Args:
        prompt: of the critic, as JSON.
        model_role: whose model judges.
        judge: a model's name, where no model has the role.
        samples: of each judgement, whose scores are averaged.
    """
    held = CriticPrompt.from_json(prompt)

    async def score(state: TaskState, target: Target) -> Score:
        bound = model_roles().get(model_role)
        bound = bound[0] if isinstance(bound, list) else bound
        if bound is None and judge is None:
            raise ValueError(f"no model has the role {model_role!r}; pass model_roles={{{model_role!r}: ...}}")
        model = bound if bound is not None else judge
        ask = judging(model, samples=samples, role="judge")  # type: ignore[arg-type]  # one of them is there
        example = Example(str(state.sample_id), state.input_text, state.output.completion)
        found = await judge_one(ask, held, example, samples=samples)
        if found.score is None:
            return Score.unscored(explanation=found.unread)
        return Score(value=found.score, explanation=found.reason, metadata=dict(found.criteria))

    return score


def _text(path: Any) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, TypeError) as error:
        raise ValueError(f"{path} is not the file of a saved critic: {error}") from error
