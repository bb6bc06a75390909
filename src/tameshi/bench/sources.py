"""Where results to compare come from: a run in the store, an exported run, an Inspect log, lm-evaluation-harness samples.

Each becomes rows: the model is the method, the task the check, an epoch the seed, a sample's id the item. Nothing is
scored again; what a log calls a score is taken as it is, and a sample without one is missing, not wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tameshi.nouns.rows import Items, Missing, Row, Rows, Scalar, Value

Kind = Literal["run", "inspect", "lm-eval"]
LETTERS = {
    "C": 1.0,
    "I": 0.0,
    "P": 0.5,
    "N": 0.0,
}  # Inspect's correct, incorrect, partial, no answer, as Inspect counts them


class NotComparable(ValueError):
    """Two things that cannot be held against each other, or not be read at all; the sentence says why."""


@dataclass(frozen=True)
class Source:
    """Results to compare.

    Args:
        name: of the model, or the id of the run.
        place: what tells it from another of the same name.
        kind: what it was read from.
        rows: the results.
        questions: (check, item) -> hash of what was asked, where the log tells; two sides must have been asked the
            same.
        subjects: option -> name and content hash of what a run was given.
    """

    name: str
    place: str
    kind: Kind
    rows: Rows
    questions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    subjects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read(address: str | Path) -> Source:
    """Read results by what the address is.

    Args:
        address: id of a run in the store (or its beginning, or "last"), an exported run (.jsonl), an Inspect log
            (.eval or .json), lm-eval's samples (samples_*.jsonl) or a folder of them.

    Raises:
        NotComparable: none of these, or not to be read.
        ImportError: an Inspect log without inspect_ai.
    """
    path = Path(address).expanduser()
    if path.is_dir():
        return _lm_eval(sorted(path.glob("samples_*.jsonl")), path)
    if path.suffix in (".eval", ".json") and path.exists():
        return _inspect(path)
    if path.suffix == ".jsonl" and path.exists():
        return _run_file(path) if _first_line(path).get("format") else _lm_eval([path], path.parent)
    if path.suffix or len(path.parts) > 1:
        raise NotComparable(f"{path} does not exist, and no run has such an id")
    return _stored(str(address))


def named_apart(sources: Sequence[Source]) -> list[str]:
    """A name for each; those that share one are told apart by where they come from."""
    names = [source.name for source in sources]
    return [s.name if names.count(s.name) == 1 else f"{s.name} ({s.place})" for s in sources]


def _stored(run_id: str) -> Source:
    from tameshi.bench.store import Store

    with Store(make=False) as store:
        try:
            run = store.run(run_id)
        except ValueError as error:
            raise NotComparable(str(error)) from error
        return Source(run.id, str(store.path), "run", store.rows(run.id), subjects=run.facts.get("subjects", {}))


def _run_file(path: Path) -> Source:
    from tameshi.bench.exchange import NotARun, read_run

    try:
        exported = read_run(path)
    except NotARun as error:
        raise NotComparable(str(error)) from error
    run = exported.run
    return Source(run.id, str(path), "run", exported.rows, subjects=run.facts.get("subjects", {}))


def _inspect(path: Path) -> Source:
    try:
        from inspect_ai.log import read_eval_log
    except ImportError as error:
        raise ImportError("Inspect logs are read by inspect_ai: pip install 'tameshi[evaluation]'") from error
    try:
        log = read_eval_log(str(path))
    except Exception as error:  # the reader raises many kinds for a file that is not a log
        raise NotComparable(
            f"{path} is not an Inspect log: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error
    if not log.samples:
        raise NotComparable(
            f"{path} holds no samples (its status is {log.status}); only a finished evaluation can be compared"
        )
    task = log.eval.task
    scored: dict[int, dict[str, dict[str, Value]]] = defaultdict(lambda: defaultdict(dict))
    asked: dict[tuple[str, str], str] = {}
    lost: list[tuple[int, str, str]] = []
    for sample in log.samples:
        item = str(sample.id)
        asked[task, item] = _digest([_plain_input(sample.input), sample.target])
        if sample.error is not None or not sample.scores:
            lost.append((sample.epoch, item, sample.error.message if sample.error else "no score"))
        for scorer, score in (sample.scores or {}).items():
            parts = score.value if isinstance(score.value, dict) else {"": score.value}
            for part, value in parts.items():
                scored[sample.epoch][f"{scorer}.{part}" if part else scorer][item] = _score(value)
    metrics = sorted({metric for by_metric in scored.values() for metric in by_metric})
    for epoch, item, reason in lost:
        for metric in metrics:
            scored[epoch][metric].setdefault(item, Missing(reason))
    if not metrics:
        raise NotComparable(f"{path} holds no scores ({lost[0][2] if lost else log.status}); score it, then compare")
    rows = [_row(task, log.eval.model, {}, epoch, by_metric) for epoch, by_metric in scored.items()]
    return Source(log.eval.model, path.stem.rsplit("_", 1)[-1], "inspect", Rows(rows), asked)


def _lm_eval(paths: Iterable[Path], folder: Path) -> Source:
    values: dict[tuple[str, str], dict[str, dict[str, Value]]] = defaultdict(lambda: defaultdict(dict))
    asked: dict[tuple[str, str], str] = {}
    for path in paths:
        task = path.stem.removeprefix("samples_").rsplit("_", 1)[0]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            sample = _json(line, path, number)
            if "doc_id" not in sample or not isinstance(sample.get("metrics"), list):
                raise NotComparable(
                    f"line {number} of {path} has no doc_id and metrics; lm-eval writes them with --log_samples"
                )
            item, by_metric = str(sample["doc_id"]), values[task, str(sample.get("filter", "none"))]
            asked[task, item] = str(sample.get("doc_hash") or _digest(sample.get("doc")))
            for metric in sample["metrics"]:
                if item in by_metric[metric]:
                    raise NotComparable(
                        f"question {item} of {task} stands twice in {path.parent}; compare one evaluation at a time"
                    )
                by_metric[metric][item] = _score(sample.get(metric))
    if not values:
        raise NotComparable(f"{folder} holds no samples_*.jsonl; run lm-eval with --log_samples")
    several = len({name for _, name in values}) > 1
    rows = [
        _row(task, folder.name, {"filter": name} if several else {}, 0, by_metric)
        for (task, name), by_metric in values.items()
    ]
    return Source(folder.name, str(folder.parent), "lm-eval", Rows(rows), asked)


def _row(
    check: str, method: str, conditions: Mapping[str, Scalar], seed: int, metrics: Mapping[str, Mapping[str, Value]]
) -> Row:
    items = {metric: Items(by_item.values(), by_item.keys()) for metric, by_item in sorted(metrics.items())}
    return Row(check, method, conditions, seed, values=items)


def _score(value: Any) -> Value:
    """A number for what a log calls a score; what is none is missing, with what stood there."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return LETTERS[value] if value in LETTERS else float(value)
        except ValueError:
            pass
    return Missing(f"the score {str(value)[:40]!r} is not a number")


def _plain_input(asked: Any) -> Any:
    return asked if isinstance(asked, str) else [(message.role, message.text) for message in asked]


def _digest(asked: Any) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def _first_line(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as lines:
        return _json(lines.readline(), path, 1)


def _json(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        read = json.loads(line)
    except json.JSONDecodeError as error:
        raise NotComparable(f"line {number} of {path} is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise NotComparable(f"line {number} of {path} is not a JSON object")
    return read
