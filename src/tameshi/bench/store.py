"""The store: every run and every row, in one SQLite file in WAL mode. A row is committed when it is measured.

A row's key names its work within the run, so the same work committed twice is one row. Per metric the mean and the number of
items stand beside the values, so that questions about many rows are answered in SQL.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tameshi.doors.files import home
from tameshi.nouns import Cost, Items, Missing, Row, Rows, Scalar, Value
from tameshi.nouns.rows import key_of, values_from_json

FORMAT = 1  # PRAGMA user_version; a store of another format is refused, never altered
APPLICATION = 0x7A6D7368  # PRAGMA application_id, so that another program's database is recognised
PATIENCE = 60.0  # seconds to wait for another writer

_TABLES = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, slug TEXT NOT NULL, identity TEXT NOT NULL, status TEXT NOT NULL,
    started TEXT NOT NULL, finished TEXT, row_count INTEGER NOT NULL DEFAULT 0, error_count INTEGER NOT NULL DEFAULT 0,
    facts TEXT NOT NULL, verdicts TEXT NOT NULL DEFAULT '{}', pid INTEGER, pid_started REAL
);
CREATE INDEX runs_by_identity ON runs (identity, started);
CREATE INDEX runs_by_slug ON runs (slug, started);
CREATE INDEX runs_by_start ON runs (started, id);
CREATE TABLE series (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    check_name TEXT NOT NULL, method TEXT NOT NULL, conditions TEXT NOT NULL,
    UNIQUE (run, check_name, method, conditions)
);
CREATE TABLE rows (
    series INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE, seed INTEGER NOT NULL, block INTEGER NOT NULL,
    cpu_seconds REAL NOT NULL, wall_seconds REAL NOT NULL, peak_bytes INTEGER, cuda_bytes INTEGER, busy REAL, error TEXT,
    PRIMARY KEY (series, seed, block)
) WITHOUT ROWID;
CREATE TABLE cells (
    series INTEGER NOT NULL, metric TEXT NOT NULL, seed INTEGER NOT NULL, block INTEGER NOT NULL,
    n INTEGER NOT NULL, missing INTEGER NOT NULL, mean REAL, value TEXT NOT NULL,
    PRIMARY KEY (series, metric, seed, block),
    FOREIGN KEY (series, seed, block) REFERENCES rows (series, seed, block) ON DELETE CASCADE
) WITHOUT ROWID;
"""


class StoreError(OSError):
    """The store cannot be read or written; the sentence says which file and why. Nothing was altered."""


@dataclass(frozen=True)
class Run:
    """One recorded execution.

    Args:
        id: short, begins with the paper's slug and the time.
        slug: of the paper.
        identity: hash of everything that decides the rows: checks, options, subjects, seeds, code.
        status: "running", "stopped" (Ctrl-C), "finished"; a "running" one whose process is gone was killed.
        started, finished: ISO 8601, UTC.
        row_count, error_count: rows stored, and how many of them are errors.
        facts: command, options, subjects, versions, machine.
        verdicts: claim -> verdict as JSON.
    """

    id: str
    slug: str
    identity: str
    status: str
    started: str
    finished: str | None
    row_count: int
    error_count: int
    facts: Mapping[str, Any]
    verdicts: Mapping[str, Any]


@dataclass(frozen=True)
class Mean:
    """What a metric of a method came to under one condition.

    Args:
        check, method, conditions, metric: which.
        mean: over rows and items; None if all are missing.
        n, missing, rows: numbers, missing values and rows behind it.
        cpu_seconds: of a row, on average.
        peak_bytes: of the costliest row; None where unknown.
    """

    check: str
    method: str
    conditions: Mapping[str, Scalar]
    metric: str
    mean: float | None
    n: int
    missing: int
    rows: int
    cpu_seconds: float
    peak_bytes: int | None


class Store:
    """Open (and where it does not exist, make) the store at `path`; by default `home()/runs.sqlite`.

    Args:
        path: of the SQLite file.
        make: make it where there is none; without, `StoreError` says that there is none yet.

    Raises:
        StoreError: not writable, not a store of ours, or of another format.
    """

    def __init__(self, path: str | Path | None = None, *, make: bool = True) -> None:
        self.path = Path(path) if path is not None else home() / "runs.sqlite"
        if not self.path.exists() and not make:
            raise StoreError(f"there is no store at {self.path} yet; `tameshi check` makes it")
        with self._explained():
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        run = self._connection.execute
        version, application = run("PRAGMA user_version").fetchone()[0], run("PRAGMA application_id").fetchone()[0]
        empty = run("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if application != APPLICATION and not empty:
            raise StoreError(f"{self.path} is a database of another program; name another folder in TAMESHI_HOME")
        if not empty and version != FORMAT:
            age = "a newer" if version > FORMAT else "an older"
            raise StoreError(
                f"{self.path} was written by {age} tameshi (format {version}, this one writes {FORMAT}); "
                "name another folder in TAMESHI_HOME, or use that version"
            )
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")  # WAL: a kill loses nothing, a power cut at most the last rows
        run("PRAGMA foreign_keys=ON")
        if empty:
            with self._transaction():
                if run("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:  # nobody was faster
                    for statement in filter(str.strip, _TABLES.split(";")):
                        run(statement)
                    run(f"PRAGMA application_id={APPLICATION}")
                    run(f"PRAGMA user_version={FORMAT}")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _explained(self, size: int = 0) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (sqlite3.Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            writing = f" while writing {size:,} bytes" if size else ""
            raise StoreError(f"the store {self.path} cannot be used{writing}: {reason}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to report
                self._connection.execute("ROLLBACK")
            raise

    # ---- writing

    def begin(self, slug: str, identity: str, facts: Mapping[str, Any]) -> Run:
        """Record that a run begins, by this process."""
        now = _now()
        stamp = now[:19].replace("-", "").replace(":", "")
        run_id = f"{slug}-{stamp}-{secrets.token_hex(2)}"
        written = json.dumps(facts, ensure_ascii=False)
        with self._explained(len(written)), self._transaction():
            self._connection.execute(
                "INSERT INTO runs (id, slug, identity, status, started, facts, pid, pid_started) VALUES (?,?,?,?,?,?,?,?)",
                (run_id, slug, identity, "running", now, written, *_this_process()),
            )
        return self.run(run_id)

    def resume(self, run_id: str) -> Run:
        """Record that this process goes on with a run."""
        with self._explained(), self._transaction():
            self._connection.execute(
                "UPDATE runs SET status='running', finished=NULL, pid=?, pid_started=? WHERE id=?",
                (*_this_process(), run_id),
            )
        return self.run(run_id)

    def commit(self, run_id: str, row: Row) -> bool:
        """Store a row; False if its key is there already. An error row gives way to a good one.

        Raises:
            StoreError: the disk is full, another writer held the store for a minute, ...
        """
        size = len(row.values_json())
        with self._explained(size), self._transaction():
            return self._insert(run_id, row)

    def _insert(self, run_id: str, row: Row) -> bool:
        run = self._connection.execute
        series = self._series(run_id, row)
        place = (series, row.seed, row.block)
        there = run("SELECT error FROM rows WHERE series=? AND seed=? AND block=?", place).fetchone()
        if there is not None and (there[0] is None or row.error is not None):
            return False
        if there is not None:
            run("DELETE FROM rows WHERE series=? AND seed=? AND block=?", place)
        run("INSERT INTO rows VALUES (?,?,?,?,?,?,?,?,?)", (*place, *dataclasses.astuple(row.cost), row.error))
        self._connection.executemany(
            "INSERT INTO cells VALUES (?,?,?,?,?,?,?,?)",
            ((series, metric, row.seed, row.block, *_digest(value)) for metric, value in sorted(row.values.items())),
        )
        added, errors = int(there is None), int(row.error is not None) - int(there is not None)
        run("UPDATE runs SET row_count=row_count+?, error_count=error_count+? WHERE id=?", (added, errors, run_id))
        return True

    def _series(self, run_id: str, row: Row) -> int:
        about = (run_id, row.check, row.method, _conditions(row.conditions))
        find = "SELECT id FROM series WHERE run=? AND check_name=? AND method=? AND conditions=?"
        there = self._connection.execute(find, about).fetchone()
        if there is None:
            made = self._connection.execute(
                "INSERT INTO series (run, check_name, method, conditions) VALUES (?,?,?,?)", about
            )
            return int(made.lastrowid or 0)
        return int(there[0])

    def finish(self, run_id: str, verdicts: Mapping[str, Any], *, status: str = "finished") -> None:
        """Record the verdicts and that the run has come to its end (or was stopped)."""
        written = json.dumps(verdicts, ensure_ascii=False)
        with self._explained(len(written)), self._transaction():
            self._connection.execute(
                "UPDATE runs SET status=?, finished=?, verdicts=?, pid=NULL, pid_started=NULL WHERE id=?",
                (status, _now(), written, run_id),
            )

    def adopt(self, run: Run, rows: Rows) -> None:
        """Take in a run from elsewhere, all or nothing, under its own id."""
        with self._explained(), self._transaction():
            self._connection.execute(
                "INSERT INTO runs (id, slug, identity, status, started, finished, facts, verdicts) VALUES (?,?,?,?,?,?,?,?)",
                (
                    *(run.id, run.slug, run.identity, run.status, run.started, run.finished),
                    *(json.dumps(run.facts, ensure_ascii=False), json.dumps(run.verdicts, ensure_ascii=False)),
                ),
            )
            for row in rows:
                self._insert(run.id, row)

    def adopt_rows(self, run_id: str, rows: Iterable[Row]) -> None:
        """Store many rows in one transaction, all or none of them."""
        with self._explained(), self._transaction():
            for row in rows:
                self._insert(run_id, row)

    def remove(self, run_id: str) -> None:
        """Delete a run with all its rows.

        Raises:
            ValueError: there is no such run, or it is running now.
        """
        if self.alive(self.run(run_id).id):
            raise ValueError(f"run {run_id} is running now; stop it first")
        with self._explained(), self._transaction():
            self._connection.execute("DELETE FROM runs WHERE id=?", (run_id,))

    # ---- reading

    def runs(self, slug: str | None = None, *, limit: int | None = None) -> list[Run]:
        """Runs, newest first; their rows are not read."""
        where, args = ("WHERE slug=?", [slug]) if slug else ("", [])
        bound = f"LIMIT {int(limit)}" if limit is not None else ""
        with self._explained():
            found = self._connection.execute(
                f"SELECT {_RUN} FROM runs {where} ORDER BY started DESC, id DESC {bound}", args
            )
            return [_run(line) for line in found.fetchall()]

    def run(self, run_id: str) -> Run:
        """One run by its id, or by the beginning of an id that only one has; "last" is the newest.

        Raises:
            ValueError: there is none, or there are several.
        """
        with self._explained():
            if run_id == "last":
                found = self._connection.execute(
                    f"SELECT {_RUN} FROM runs ORDER BY started DESC, id DESC LIMIT 1"
                ).fetchall()
            else:
                found = self._connection.execute(
                    f"SELECT {_RUN} FROM runs WHERE id=? OR substr(id, 1, ?)=? ORDER BY id=? DESC LIMIT 3",
                    (run_id, len(run_id), run_id, run_id),
                ).fetchall()
        if not found:
            raise ValueError(f"there is no run {run_id!r} in {self.path}; `tameshi runs` lists them")
        if len(found) > 1 and found[0][0] != run_id:
            raise ValueError(f"several runs begin with {run_id!r}: {found[0][0]}, {found[1][0]}, ...; write more of it")
        return _run(found[0])

    def rows(self, run_id: str, *, most: int | None = None) -> Rows:
        """The rows of a run with all their values.

        Args:
            run_id: of the run.
            most: of each method and condition at most so many, those of the first seeds; None for all.
        """
        bound = "" if most is None else f"LIMIT {int(most)}"
        found: list[Row] = []
        with self._explained():
            run = self._connection.execute
            for series, check, method, conditions in run(_SERIES, (run_id,)).fetchall():
                taken = f"SELECT * FROM rows WHERE series=? ORDER BY seed, block {bound}"
                cells = (
                    "SELECT seed, block, metric, value FROM cells WHERE series=? AND (seed, block) IN "
                    f"(SELECT seed, block FROM rows WHERE series=? ORDER BY seed, block {bound})"
                )
                values: dict[tuple[int, int], dict[str, Any]] = {}
                for seed, block, metric, value in run(cells, (series, series)):
                    values.setdefault((seed, block), {})[metric] = _value(value)
                under = json.loads(conditions)
                for _, seed, block, *cost, error in run(taken, (series,)):
                    held = values.get((seed, block), {})
                    found.append(Row(check, method, under, seed, block, held, Cost(*cost), error))
        return Rows(found)

    def means(self, run_id: str) -> list[Mean]:
        """For every method, condition and metric the mean over all rows, computed in SQL."""
        query = (
            "SELECT series, metric, count(*), sum(n - missing), sum(missing), sum(mean * (n - missing)) / sum(n - missing) "
            "FROM cells WHERE series=? GROUP BY metric ORDER BY metric"
        )
        costs = "SELECT avg(cpu_seconds), max(peak_bytes) FROM rows WHERE series=? AND error IS NULL"
        found: list[Mean] = []
        with self._explained():
            for series, check, method, conditions in self._connection.execute(_SERIES, (run_id,)).fetchall():
                seconds, peak = self._connection.execute(costs, (series,)).fetchone()
                for _, metric, rows, n, missing, mean in self._connection.execute(query, (series,)):
                    found.append(
                        Mean(check, method, json.loads(conditions), metric, mean, n, missing, rows, seconds, peak)
                    )
        return found

    def errors(self, run_id: str, *, most: int = 100) -> list[str]:
        """One line for each measurement that did not end well."""
        query = (
            "SELECT check_name, method, conditions, seed, error FROM rows JOIN series ON series=series.id "
            "WHERE run=? AND error IS NOT NULL ORDER BY check_name, method, conditions, seed LIMIT ?"
        )
        with self._explained():
            return [
                f"{check}: {method} {shown(json.loads(conditions))} seed {seed}: {error}"
                for check, method, conditions, seed, error in self._connection.execute(query, (run_id, most))
            ]

    def done(self, run_id: str) -> frozenset[str]:
        """Keys of the rows that need not be measured again: all but errors."""
        query = (
            "SELECT check_name, method, conditions, seed, block FROM rows JOIN series ON series=series.id "
            "WHERE run=? AND error IS NULL"
        )
        with self._explained():
            return frozenset(
                key_of(check, method, json.loads(conditions), seed, block)
                for check, method, conditions, seed, block in self._connection.execute(query, (run_id,))
            )

    def unfinished(self, identity: str) -> Run | None:
        """The newest run of this identity that has something left to do and that no living process is doing."""
        with self._explained():
            found = self._connection.execute(
                f"SELECT {_RUN} FROM runs WHERE identity=? AND (status != 'finished' OR error_count > 0) "
                "ORDER BY started DESC, id DESC",
                (identity,),
            ).fetchall()
        return next((_run(line) for line in found if not self.alive(line[0])), None)

    def alive(self, run_id: str) -> bool:
        """Whether the process that works on a run still lives."""
        with self._explained():
            pid, started = self._connection.execute(
                "SELECT pid, pid_started FROM runs WHERE id=?", (run_id,)
            ).fetchone()
        if pid is None or pid == os.getpid() or not psutil.pid_exists(pid):
            return False
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 2
        except psutil.Error:
            return False

    def troubles(self) -> list[str]:
        """What is wrong with the store, one sentence each; empty if nothing is."""
        with self._explained():
            run = self._connection.execute
            found = [f"SQLite: {line}" for (line,) in run("PRAGMA integrity_check") if line != "ok"]
            found += [f"a row of {table} belongs to nothing" for table, *_ in run("PRAGMA foreign_key_check")]
            counts = (
                "SELECT runs.id, row_count, error_count, count(seed), count(error) FROM runs LEFT JOIN series ON run=runs.id "
                "LEFT JOIN rows ON series=series.id GROUP BY runs.id HAVING row_count != count(seed) OR error_count != count(error)"
            )
            found += [f"run {name} says {said} rows but has {has}" for name, said, _, has, _ in run(counts)]
            for series, metric, seed, value in run("SELECT series, metric, seed, value FROM cells"):
                try:
                    _value(value)
                except (ValueError, KeyError, TypeError) as error:
                    found.append(f"{metric} of series {series}, seed {seed}, cannot be read: {error}")
        return found


_SERIES = "SELECT id, check_name, method, conditions FROM series WHERE run=? ORDER BY check_name, method, conditions"
_RUN = "id, slug, identity, status, started, finished, row_count, error_count, facts, verdicts"


def _run(line: Sequence[Any]) -> Run:
    run_id, slug, identity, status, started, finished, rows, errors, facts, verdicts = line
    return Run(run_id, slug, identity, status, started, finished, rows, errors, json.loads(facts), json.loads(verdicts))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _this_process() -> tuple[int, float]:
    return os.getpid(), psutil.Process().create_time()


def _conditions(conditions: Mapping[str, Scalar]) -> str:
    return json.dumps(dict(sorted(conditions.items())), ensure_ascii=False)


def shown(conditions: Mapping[str, Scalar]) -> str:
    """Conditions for people: "cap=64 window=32"."""
    return " ".join(f"{name}={value}" for name, value in sorted(conditions.items()))


def _value(text: str) -> Value | Items:
    return values_from_json(f'{{"v": {text}}}')["v"]


def _digest(value: float | Missing | Items) -> tuple[int, int, float | None, str]:
    """Number of values, of missing ones, mean of the others (NULL if NaN or none), and the value as JSON."""
    parts = value.values if isinstance(value, Items) else (value,)
    numbers = [v for v in parts if not isinstance(v, Missing)]
    mean = sum(numbers) / len(numbers) if numbers else None
    text = Row("", "", {}, 0, values={"v": value}).values_json()
    return len(parts), len(parts) - len(numbers), mean, text[len('{"v": ') : -1]
