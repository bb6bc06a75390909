"""The instruction of a prompt, rewritten by the judge itself after it has seen where it scored unlike people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tameshi.evaluation.active_critic.inference import ask_json
from tameshi.evaluation.active_critic.prompts import Criterion, CriticPrompt, Example
from tameshi.evaluation.active_critic.scoring import Judged
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.judge import DATA, fence
from tameshi.evaluation.messages import Unparsed, system, user

SEEN = 5  # scored examples that a round of rewriting is shown (our choice)

RULES = (
    "You see the instruction of a judge and texts that it scored, each with the score of people. Rewrite the instruction so "
    "that the judge scores more as people do. Keep the names of the criteria; say better what they mean, and what is low and "
    "what is high. Write of no single text. {data} Answer with JSON alone: "
    '{{"task": "...", "criteria": [{{"name": "...", "definition": "...", "low": "...", "high": "..."}}]}}'
)


async def rewrite(
    ask: Asker,
    prompt: CriticPrompt,
    examples: Sequence[Example],
    people: Sequence[float],
    judged: Sequence[Judged],
) -> CriticPrompt | None:
    """The same prompt with its task and criteria said anew, or None where no answer could be used.

    Args:
        ask: the model that rewrites; one call, and one for a repair.
        prompt: names of criteria, demonstrations, scale and mode stay as they are.
        examples, people: texts with the scores of people; none of those that will compare the prompts.
        judged: what the prompt says of the texts.
    """
    names = [c.name for c in prompt.criteria]
    bare = replace(prompt, demonstrations=())
    shown = "\n\n".join(_shown(n, *each) for n, each in enumerate(zip(examples, people, judged, strict=True), 1))
    asked = f"{fence(bare.rubric(examples[0]), 'instruction')}\n\n{shown}"
    found = await ask_json(ask, [system(RULES.format(data=DATA)), user(asked)], lambda v: _problem(v, names))
    if isinstance(found, Unparsed):
        return None
    said = {str(c["name"]).strip(): c for c in found["criteria"]}
    return replace(
        prompt,
        task=found["task"].strip(),
        criteria=tuple(
            Criterion(n, *(str(said[n].get(k, "")).strip() for k in ("definition", "low", "high"))) for n in names
        ),
    )


def _shown(number: int, example: Example, score: float, judged: Judged) -> str:
    source = fence(example.source, f"source {number}") + "\n" if example.source else ""
    own = "none that could be read" if judged.score is None else f"{judged.score:g}"
    told = f"\n{fence(judged.reason, f'reason of the judge {number}')}" if judged.reason else ""
    return f"{source}{fence(example.output, f'text {number}')}\nScore of people: {score:g}\nScore of the judge: {own}{told}"


def _problem(value: dict[str, Any], names: Sequence[str]) -> str:
    if not isinstance(value.get("task"), str) or not value["task"].strip():
        return "it lacks task"
    entries = value.get("criteria")
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        return 'it has no list "criteria" of objects'
    given = [str(e.get("name", "")).strip() for e in entries]
    if sorted(given) != sorted(names):
        return f"the criteria must be {', '.join(names) or 'none'}, got {', '.join(given) or 'none'}"
    return "" if all(str(e.get("definition", "")).strip() for e in entries) else "a criterion has no definition"
