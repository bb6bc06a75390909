"""Stage 1: what is the task, and which criteria do the scores reward? Inferred from scored examples, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tameshi.evaluation.active_critic.prompts import CIRCULAR, Criterion, Example
from tameshi.evaluation.asking import Asker
from tameshi.evaluation.judge import DATA, fence
from tameshi.evaluation.messages import Answer, Message, Unparsed, system, user
from tameshi.evaluation.readers import read_json

BATCH, BATCHES = 5, 8  # examples a batch, batches at most (our choice; the paper's sizes were not found)
FEWEST, MOST = 2, 8  # criteria

TASK = (
    "You see texts with the scores that people gave them. Say what the task is that produced the texts: the kind of input, the "
    "kind of output, and the purpose. Improve the description you have, if there is one. {data} "
    'Answer with JSON alone: {{"input": "...", "output": "...", "purpose": "..."}}'
)
CRITERIA = (
    "You see texts with the scores that people gave them. Find the criteria that these scores reward, from {fewest} to {most}; "
    "keep what is right in the list you have, merge what is the same, drop what the scores do not reward. A criterion must be "
    "narrower than overall quality. Say whether task and criteria are now comprehensive. {data} Answer with JSON alone: "
    '{{"criteria": [{{"name": "...", "definition": "...", "low": "...", "high": "..."}}], "comprehensive": true}}'
)
REPAIR = "That could not be used: {reason}. Answer again, with JSON alone in the form asked for."


@dataclass(frozen=True)
class Inferred:
    """What stage 1 found.

    Args:
        task: the description, one sentence a part; empty if no answer could be read.
        criteria: what the scores reward.
        batches: how many were read.
        complete: it stopped because the model called it comprehensive and nothing changed.
        refused: names that were not accepted, with the reason.
    """

    task: str
    criteria: tuple[Criterion, ...]
    batches: int
    complete: bool
    refused: tuple[str, ...] = ()


def batches(count: int) -> int:
    """How many batches `count` examples make, at most."""
    return min(BATCHES, -(-count // BATCH))


def calls(count: int) -> int:
    """Calls of stage 1 without repairs: two a batch."""
    return 2 * batches(count)


async def infer(ask: Asker, examples: Sequence[Example], scores: Sequence[float]) -> Inferred:
    """Read the examples batch by batch.

    Args:
        ask: the model.
        examples, scores: with the scores of people; only training examples belong here.

    Returns:
        The last description and criteria that could be read. An answer that cannot be used gets one repair request,
        then what was known before stands.
    """
    task: dict[str, str] = {}
    criteria: tuple[Criterion, ...] = ()
    refused: list[str] = []
    done, complete = 0, False
    for start in range(0, batches(len(examples)) * BATCH, BATCH):
        part = list(zip(examples, scores, strict=True))[start : start + BATCH]
        shown = "\n\n".join(_shown(n, e, s) for n, (e, s) in enumerate(part, 1))
        known = (
            f"Description so far: {json.dumps(task, ensure_ascii=False)}" if task else "There is no description yet."
        )
        read_task = await ask_json(ask, [system(TASK.format(data=DATA)), user(f"{known}\n\n{shown}")], _task_problem)
        if not isinstance(read_task, Unparsed):
            task = {k: str(read_task[k]).strip() for k in ("input", "output", "purpose")}
        listed = json.dumps([vars(c) for c in criteria], ensure_ascii=False)
        rules = CRITERIA.format(data=DATA, fewest=FEWEST, most=MOST)
        asked = f"Task: {json.dumps(task, ensure_ascii=False)}\nCriteria so far: {listed}\n\n{shown}"
        read = await ask_json(ask, [system(rules), user(asked)], _criteria_problem)
        done += 1
        if isinstance(read, Unparsed):
            if ask.ledger.left < 1:
                break
            continue
        found, names = usable(read["criteria"])
        refused += [n for n in names if n not in refused]
        same = {c.name.casefold() for c in found} == {c.name.casefold() for c in criteria}
        if len(found) >= FEWEST:
            criteria = found
        if read.get("comprehensive") is True and same and criteria:
            complete = True
            break
    told = ""
    if task:
        told = f"The input is {task['input']}. The output is {task['output']}. The purpose is {task['purpose']}."
    return Inferred(told, criteria, done, complete, tuple(refused))


def usable(entries: Sequence[Any]) -> tuple[tuple[Criterion, ...], list[str]]:
    """The criteria that can be used, at most eight with different names, and why others cannot."""
    kept: dict[str, Criterion] = {}
    refused = []
    for entry in entries:
        name, definition = (str(entry.get(k, "")).strip() for k in ("name", "definition"))
        key = " ".join(name.casefold().split())
        if not name or not definition:
            refused.append(f"{name or 'unnamed'}: has no {'definition' if name else 'name'}")
        elif key in CIRCULAR:
            refused.append(f"{name}: restates the score")
        elif key in kept:
            refused.append(f"{name}: stands twice")
        elif len(kept) == MOST:
            refused.append(f"{name}: more than {MOST} criteria")
        else:
            kept[key] = Criterion(
                name, definition, str(entry.get("low", "")).strip(), str(entry.get("high", "")).strip()
            )
    return tuple(kept.values()), refused


def _shown(number: int, example: Example, score: float) -> str:
    source = fence(example.source, f"source {number}") + "\n" if example.source else ""
    return f"{source}{fence(example.output, f'text {number}')}\nScore of people: {score:g}"


async def ask_json(ask: Asker, asked: list[Message], problem: Callable[[dict[str, Any]], str]) -> Any | Unparsed:
    """The JSON object of an answer, after one repair request at most.

    Args:
        ask: the model.
        asked: the conversation.
        problem: why an object cannot be used; empty if it can.
    """
    reason = "not asked"
    for _ in range(2):
        told = await ask(asked)
        if not isinstance(told, Answer):
            return Unparsed(told.reason)
        found = read_json(told.text)
        reason = found.reason if isinstance(found, Unparsed) else problem(found)
        if not reason:
            return found
        asked = [*asked, {"role": "assistant", "content": told.text[:4000]}, user(REPAIR.format(reason=reason))]
    return Unparsed(reason)


def _task_problem(value: dict[str, Any]) -> str:
    missing = [k for k in ("input", "output", "purpose") if not isinstance(value.get(k), str) or not value[k].strip()]
    return f"it lacks {', '.join(missing)}" if missing else ""


def _criteria_problem(value: dict[str, Any]) -> str:
    entries = value.get("criteria")
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        return 'it has no list "criteria" of objects'
    kept, refused = usable(entries)
    return f"it has fewer than {FEWEST} usable criteria ({'; '.join(refused)})" if len(kept) < FEWEST else ""
