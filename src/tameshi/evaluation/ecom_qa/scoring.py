"""Scoring without a judge: each kind of question has its reader, and an answer that cannot be read says why.

An unreadable answer is not correct, and it is counted apart. Free text (two of the ten tasks) wants a judge; without
one it is matched after normalisation, and every score so made is flagged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tameshi.evaluation.ecom_qa.items import TASKS, Item, folded
from tameshi.evaluation.intervals import wilson
from tameshi.evaluation.messages import Unparsed
from tameshi.evaluation.readers import MOST_MARKERS, fold, read_label, read_letter

Judge = Callable[[Item, str], "str | Unparsed"]
"""A grade of a free answer: CORRECT, INCORRECT or NOT_ATTEMPTED; or why there is none."""

GRADES = {
    "CORRECT": "the answer says what one of the reference answers says, with nothing that contradicts it",
    "INCORRECT": "the answer contradicts the reference, or says something else",
    "NOT_ATTEMPTED": "the answer gives no answer, or declines, without contradicting the reference",
}

# forms in which a label is also written; a denied label is another label where there is one
_FORMS = {
    "是": ("是的",),
    "否": ("不是", "不", "并非", "非"),
    "正确": ("对",),
    "错误": ("不正确", "不对", "有误"),
    "相关": (),
    "不相关": ("无关", "不太相关", "并不相关"),
    "怎么挑/怎么买": ("怎么挑", "怎么买"),
    "电商通用百科知识": ("百科知识", "通用百科"),
}
_MARKER = re.compile(
    r"(?:答案|回答)[\s*]*(?:[:：]|[是为](?=\S))[\s*]*"
)  # begins with a letter: no run of spaces is tried twice


@dataclass(frozen=True)
class Scored:
    """What an answer to one question is worth.

    Args:
        item: its id.
        task: of the item.
        correct: whether it counts.
        f1: of the set for set questions; else 1 or 0 like `correct`.
        unparsed: why the answer could not be read; empty if it could.
        attempted: false where the judge saw no attempt, or nothing stood there.
        flagged: a free answer that was matched because there was no judge.
        precision, recall: of the set for set questions.
    """

    item: str
    task: str
    correct: bool
    f1: float
    unparsed: str = ""
    attempted: bool = True
    flagged: bool = False
    precision: float = 0.0
    recall: float = 0.0


def score_item(item: Item, answer: str, judge: Judge | None = None, *, judge_all: bool = False) -> Scored:
    """Score one answer.

    Args:
        item: the question.
        answer: of the model, whole.
        judge: grades free answers; without one they are matched and flagged.
        judge_all: ask the judge for every task.
    """
    if not answer.strip():
        return Scored(item.id, item.task, False, 0.0, "empty", attempted=False)
    if judge is not None and (judge_all or item.kind == "free"):
        grade = judge(item, answer)
        if isinstance(grade, Unparsed):
            return Scored(item.id, item.task, False, 0.0, f"no grade: {grade.reason}")
        right = grade == "CORRECT"
        return Scored(item.id, item.task, right, float(right), attempted=grade != "NOT_ATTEMPTED")
    if item.kind == "set":
        return _score_set(item, answer)
    if item.kind in ("label", "letter"):
        read = read_answer(item, answer)
        if isinstance(read, Unparsed):
            return Scored(item.id, item.task, False, 0.0, read.reason)
        right = read in item.golds
        return Scored(item.id, item.task, right, float(right))
    right = matches(answer, item.golds, exactly=item.task == "SC")
    return Scored(item.id, item.task, right, float(right), flagged=item.kind == "free")


def score_items(items: Sequence[Item], answers: Sequence[str], judge: Judge | None = None) -> list[Scored]:
    """Score many answers, in order.

    Raises:
        ValueError: not as many answers as items.
    """
    if len(items) != len(answers):
        raise ValueError(f"{len(items)} questions need as many answers, got {len(answers)}")
    return [score_item(item, answer, judge) for item, answer in zip(items, answers, strict=True)]


def read_answer(item: Item, answer: str) -> str | Unparsed:
    """The label or letter of an answer: the last one stands, 不是 is 否, 不相关 is not 相关."""
    if item.kind == "letter":
        return read_letter(answer, "".join(item.options))
    return read_label(answer, _labels(item.options))


@lru_cache(maxsize=4096)
def _labels(options: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {option: _FORMS.get(option, ()) for option in options}


def matches(answer: str, golds: Iterable[str], *, exactly: bool = False) -> bool:
    """Whether a gold stands as the whole answer, or as its first line, after normalisation.

    Args:
        exactly: keep the characters within as they are; where a query is to be repaired, a stray ` may be the whole
            fault.
    """
    alike = _lightly if exactly else folded
    wanted = {alike(g) for g in golds}
    body = _after_marker(answer)
    return alike(body) in wanted or alike(body.strip().split("\n", 1)[0]) in wanted


def _lightly(text: str) -> str:
    return "".join(text.casefold().split()).strip("。.！!“”\"'*")


def read_set(answer: str, options: Sequence[str]) -> tuple[str, ...]:
    """The parts of a list answer, normalised, each once. Options that hold a separator themselves are found first."""
    body = fold(_after_marker(answer)).strip()
    lines = [line for line in body.split("\n") if line.strip()]
    body = lines[0] if lines else ""
    if len(lines) > 1 and all(len(line) < 40 for line in lines):  # one candidate a line
        body = ",".join(re.sub(r"^\s*(?:[-*•]|\d+[.)、])\s*", "", line) for line in lines)
    kept = []
    for option in sorted((fold(o) for o in options if re.search("[,、;]", fold(o))), key=len, reverse=True):
        if option in body:
            kept.append(option)
            body = body.replace(option, ",")
    parts = (folded(p) for p in (*kept, *re.split("[,、;]", body)))
    return tuple(dict.fromkeys(p for p in parts if p))


def _score_set(item: Item, answer: str) -> Scored:
    found = set(read_set(answer, item.options))
    if not found:
        return Scored(item.id, item.task, False, 0.0, "names no candidate")
    best = (0.0, 0.0, 0.0, False)
    for gold in item.golds:
        wanted = set(read_set(gold, item.options))
        hit = len(found & wanted)
        precision, recall = hit / len(found), hit / len(wanted)
        f1 = 2 * hit / (len(found) + len(wanted))
        best = max(best, (f1, precision, recall, found == wanted))
    f1, precision, recall, exact = best
    return Scored(item.id, item.task, exact, f1, precision=precision, recall=recall)


def _after_marker(answer: str) -> str:
    marks = list(_MARKER.finditer(answer))[-MOST_MARKERS:]
    while marks:  # a prompt may end with two markers, and an answer repeat them
        rest = answer[marks[-1].end() :]
        if rest.strip():
            return rest
        answer = answer[: marks[-1].start()]
        marks.pop()
    return answer


@dataclass(frozen=True)
class TaskScore:
    """Accuracy on one task with its Wilson interval, and what stands beside it."""

    n: int
    accuracy: float
    interval: tuple[float, float]
    f1: float
    unparsed: int
    flagged: int


@dataclass(frozen=True)
class Summary:
    """Scores by task, and their means.

    Args:
        tasks: task -> score.
        macro: mean over the tasks present, as the leaderboard has it.
        micro: mean over questions.
        attempted: share of questions attempted.
        f: harmonic mean of accuracy overall and among the attempted (as in the SimpleQA family).
    """

    tasks: dict[str, TaskScore]
    macro: float
    micro: float
    attempted: float
    f: float

    def table(self) -> str:
        """As text, one task a line."""
        lines = [
            f"{'task':<6}{'n':>6}{'accuracy':>10}{'95 % interval':>18}{'unparsed':>10}{'matched without a judge':>26}"
        ]
        for task, s in self.tasks.items():
            interval = f"[{s.interval[0]:.3f}, {s.interval[1]:.3f}]"
            lines.append(f"{task:<6}{s.n:>6}{s.accuracy:>10.3f}{interval:>18}{s.unparsed:>10}{s.flagged:>26}")
        return "\n".join([*lines, f"macro {self.macro:.3f}, micro {self.micro:.3f}, F {self.f:.3f}"])


def summary(scored: Iterable[Scored]) -> Summary:
    """Gather scores.

    Raises:
        ValueError: nothing was scored.
    """
    held = list(scored)
    if not held:
        raise ValueError("there is nothing to sum up: no answer was scored")
    tasks = {}
    for task in TASKS:
        own = [s for s in held if s.task == task]
        if own:
            right = sum(s.correct for s in own)
            tasks[task] = TaskScore(
                len(own),
                right / len(own),
                wilson(right, len(own)),
                sum(s.f1 for s in own) / len(own),
                sum(bool(s.unparsed) for s in own),
                sum(s.flagged for s in own),
            )
    micro = sum(s.correct for s in held) / len(held)
    tried = sum(s.attempted for s in held)
    given = sum(s.correct for s in held) / tried if tried else 0.0
    f = 2 * micro * given / (micro + given) if micro + given else 0.0
    return Summary(tasks, sum(t.accuracy for t in tasks.values()) / len(tasks), micro, tried / len(held), f)
