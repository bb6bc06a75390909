"""What a benchmark gives away for nothing: hidden rationales, duplicates, what policies without a model score."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tameshi.evaluation.ecom_qa.items import NAMES, TASKS, Item, candidates
from tameshi.evaluation.ecom_qa.scoring import Scored, Summary, score_item, summary
from tameshi.evaluation.nulls import majority_within

Policy = Callable[[Item], str]


@dataclass(frozen=True)
class AuditReport:
    """What was found.

    Args:
        counts: task -> number of questions.
        duplicates: prompts that stand more than once; how many of them with different golds.
        hidden: golds that carry a rationale.
        double_markers: prompts that end with two answer markers.
        longest: characters of the longest question, and its id.
        mean_length: characters of a question.
        trivial: task -> best score of a policy without a model, and the policy.
        macro: mean of those over tasks: what no model is needed for.
        baselines: policy -> its summary.
    """

    counts: dict[str, int]
    duplicates: tuple[int, int]
    hidden: int
    double_markers: int
    longest: tuple[int, str]
    mean_length: float
    trivial: dict[str, tuple[float, str]]
    macro: float
    baselines: dict[str, Summary]

    def __str__(self) -> str:
        total = sum(self.counts.values())
        lines = [
            f"{total:,} questions; {self.duplicates[0]} prompts stand twice, {self.duplicates[1]} of them with different golds",
            f"{self.hidden} golds carry a hidden rationale; {self.double_markers} prompts end with two answer markers",
            f"the longest question has {self.longest[0]:,} characters (item {self.longest[1]}), the mean {self.mean_length:,.0f}",
            "what a policy without a model scores:",
        ]
        for task, (score, policy) in self.trivial.items():
            lines.append(f"  {task:<4} {NAMES[task]:<26} {score:6.1%}  {policy}")
        return "\n".join([*lines, f"  macro {self.macro:.1%}: a model must be above this to have shown anything"])

    def separates(self, scores: dict[str, float]) -> dict[str, bool]:
        """Whether a model's score on each task lies above that of the best policy without one."""
        return {task: score > self.trivial[task][0] for task, score in scores.items() if task in self.trivial}


def audit(items: Sequence[Item]) -> AuditReport:
    """Look at a set of questions; no model is asked.

    Raises:
        ValueError: no questions.
    """
    if not items:
        raise ValueError("there is nothing to audit: no questions")
    prompts: dict[tuple[str, str], set[str]] = {}
    repeated: dict[tuple[str, str], int] = {}
    for item in items:
        key = (item.system, item.prompt)
        prompts.setdefault(key, set()).update(item.golds)
        repeated[key] = repeated.get(key, 0) + 1
    twice = [key for key, count in repeated.items() if count > 1]
    by_policy = trivial_baselines(items)
    best: dict[str, tuple[float, str]] = {}
    for name, found in by_policy.items():
        for task, score in found.tasks.items():
            if task not in best or score.accuracy > best[task][0]:
                best[task] = (score.accuracy, name)
    lengths = [(len(i.system) + len(i.prompt), i.id) for i in items]
    return AuditReport(
        counts={task: sum(i.task == task for i in items) for task in TASKS if any(i.task == task for i in items)},
        duplicates=(len(twice), sum(len(prompts[key]) > 1 for key in twice)),
        hidden=sum(bool(i.rationale) for i in items),
        double_markers=sum(bool(re.search(r"答案\**[:：]\s*\**答案\**[:：]\s*$", i.prompt)) for i in items),
        longest=max(lengths, key=lambda pair: pair[0]),
        mean_length=sum(n for n, _ in lengths) / len(lengths),
        trivial={task: best[task] for task in TASKS if task in best},
        macro=sum(score for score, _ in best.values()) / len(best),
        baselines=by_policy,
    )


def trivial_baselines(items: Sequence[Item]) -> dict[str, Summary]:
    """What every policy without a model scores, task by task."""
    return {name: summary(scores) for name, scores in trivial_scores(items).items()}


def trivial_scores(items: Sequence[Item]) -> dict[str, list[Scored]]:
    """The same, question by question."""
    return {name: [score_item(i, policy(i)) for i in items] for name, policy in policies(items).items()}


def policies(items: Sequence[Item]) -> dict[str, Policy]:
    """Policies without a model; the majority is taken over the very questions, so it is the best a constant can do."""
    labelled = [i for i in items if i.kind in ("label", "letter") and i.form not in ("category", "dimension")]
    groups = [((i.task, i.form), i.gold) for i in items if i.form != "category"]
    most: Policy = majority_within(groups, _form)
    own = {i.id for i in labelled} | {i.id for i in items if i.form == "dimension"}

    def constant(item: Item) -> str:
        if item.id in own:
            return most(item)
        if item.form == "category":
            return most_overlapping(item)
        return ""

    return {
        "copy the query": query_of,
        "the commonest label": constant,
        "the candidate with most shared characters": lambda item: most_overlapping(item) if item.options else "",
    }


def _form(item: Item) -> tuple[str, str]:
    return item.task, item.form


def query_of(item: Item) -> str:
    """The query in the prompt: what a policy answers that repairs nothing."""
    found = re.findall(r"query\*{0,3}\s*[:：]([^\n]*)", item.prompt, re.IGNORECASE)
    return re.split(r"\*{3}|答案", found[-1])[0].strip() if found else ""


def most_overlapping(item: Item) -> str:
    """The candidate whose characters stand in the rest of the prompt to the largest share; the first of equals."""
    listed = item.options or candidates(item.prompt)
    if not listed:
        return ""
    body = item.prompt.split("候选")[0]
    seen = set(body)
    return max(listed, key=lambda option: len(set(option) & seen) / len(set(option)))
