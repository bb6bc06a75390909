"""Runs as files: JSON Lines, first a manifest with the hash of all that follows, then one line a row."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tameshi.bench.store import Run, Store
from tameshi.doors.files import write
from tameshi.nouns import Cost, Row, Rows
from tameshi.nouns.rows import values_from_json

FORMAT = "tameshi run 1"
RECORD = "tameshi record 1"


class NotARun(ValueError):
    """A file that is not an exported run, or not the whole of one."""


@dataclass(frozen=True)
class Exported:
    """What an exported file holds."""

    run: Run
    rows: Rows


def export_run(store: Store, run_id: str, file: Path) -> Path:
    """Write a run as one file."""
    run = store.run(run_id)
    body = "".join(f"{_line(row)}\n" for row in store.rows(run.id))
    manifest = {"format": FORMAT, "sha256": hashlib.sha256(body.encode()).hexdigest(), **dataclasses.asdict(run)}
    return write(file, f"{json.dumps(manifest, ensure_ascii=False)}\n{body}")


def export_record(store: Store, run_id: str, file: Path) -> Path:
    """Write what a run found, small enough for a repository: facts, verdicts and the means of all metrics, without the rows."""
    run = store.run(run_id)
    body = {"run": dataclasses.asdict(run), "means": [dataclasses.asdict(mean) for mean in store.means(run.id)]}
    return write(
        file, json.dumps({"format": RECORD, "sha256": _digest(body), **body}, ensure_ascii=False, indent=1) + "\n"
    )


def read_record(file: Path) -> Run:
    """The run of a record.

    Raises:
        NotARun: not a record, or altered since it was written.
    """
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        whole = read.pop("format") == RECORD and read.pop("sha256") == _digest(read)
        run = Run(**read["run"])
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise NotARun(f"{file} is not the record of a run: {error}") from error
    if not whole:
        raise NotARun(f"{file} was altered: its hash does not fit what it says")
    return run


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def read_run(file: Path) -> Exported:
    """Read an exported run without storing it.

    Raises:
        NotARun: not such a file, of another format, or its hash does not fit.
    """
    try:
        head, _, body = file.read_text(encoding="utf-8").partition("\n")
        manifest = json.loads(head)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise NotARun(f"{file} is not an exported run: {error}") from error
    if not isinstance(manifest, dict) or manifest.pop("format", None) != FORMAT:
        raise NotARun(f"{file} is not an exported run of this version ({FORMAT})")
    if manifest.pop("sha256", None) != hashlib.sha256(body.encode()).hexdigest():
        raise NotARun(f"{file} was cut or altered: its hash does not fit its rows")
    try:
        run = Run(**manifest)
        rows = Rows(_rows(body))
    except (TypeError, KeyError, ValueError) as error:
        raise NotARun(f"{file} is not an exported run: {error}") from error
    return Exported(run, rows)


def import_run(store: Store, file: Path) -> str:
    """Store an exported run under its own id; returns it.

    Raises:
        NotARun: as for `read_run`.
        ValueError: a run of that id is there already.
    """
    exported = read_run(file)
    run = exported.run
    if any(there.id == run.id for there in store.runs(run.slug)):
        raise ValueError(f"run {run.id} is in {store.path} already")
    store.adopt(run, exported.rows)
    return run.id


def _line(row: Row) -> str:
    about: Mapping[str, Any] = {
        "check": row.check, "method": row.method, "conditions": dict(sorted(row.conditions.items())), "seed": row.seed, "block": row.block,
        "values": json.loads(row.values_json()), "cost": dataclasses.asdict(row.cost), "error": row.error,
    }  # fmt: skip
    return json.dumps(about, ensure_ascii=False)


def _rows(body: str) -> Iterator[Row]:
    for line in body.splitlines():
        read = json.loads(line)
        values = values_from_json(json.dumps(read.pop("values")))
        yield Row(**read | {"values": values, "cost": Cost(**read["cost"])})
