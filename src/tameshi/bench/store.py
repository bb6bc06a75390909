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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tameshi.nouns import Cost, Items, Missing, Row, Rows
from tameshi.nouns.rows import values_from_json

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
CREATE TABLE rows (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, key TEXT NOT NULL,
    check_name TEXT NOT NULL, method TEXT NOT NULL, conditions TEXT NOT NULL, seed INTEGER NOT NULL, block INTEGER NOT NULL,
    cost TEXT NOT NULL, error TEXT, PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE TABLE cells (
    run TEXT NOT NULL, key TEXT NOT NULL, metric TEXT NOT NULL, n INTEGER NOT NULL, missing INTEGER NOT NULL,
    mean REAL, value TEXT NOT NULL,
    PRIMARY KEY (run, key, metric), FOREIGN KEY (run, key) REFERENCES rows (run, key) ON DELETE CASCADE
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


def home() -> Path:
    """The folder of runs and caches: TAMESHI_HOME, or the user's data folder of this system."""
    import platformdirs

    given = os.environ.get("TAMESHI_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("tameshi", appauthor=False))


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
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to report
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

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
        there = run("SELECT error FROM rows WHERE run=? AND key=?", (run_id, row.key)).fetchone()
        if there is not None and (there[0] is None or row.error is not None):
            return False
        if there is not None:
            run("DELETE FROM rows WHERE run=? AND key=?", (run_id, row.key))
        cost = json.dumps(dataclasses.asdict(row.cost))
        run(
            "INSERT INTO rows (run, key, check_name, method, conditions, seed, block, cost, error) VALUES (?,?,?,?,?,?,?,?,?)",
            (run_id, row.key, row.check, row.method, _conditions(row), row.seed, row.block, cost, row.error),
        )
        run_many = self._connection.executemany
        cells = ((run_id, row.key, metric, *_digest(value)) for metric, value in sorted(row.values.items()))
        run_many("INSERT INTO cells (run, key, metric, n, missing, mean, value) VALUES (?,?,?,?,?,?,?)", cells)
        added, errors = int(there is None), int(row.error is not None) - int(there is not None)
        run("UPDATE runs SET row_count=row_count+?, error_count=error_count+? WHERE id=?", (added, errors, run_id))
        return True

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

    def rows(self, run_id: str, *, metrics: Sequence[str] | None = None) -> Rows:
        """The rows of a run with all their values (or only those of some metrics)."""
        chosen = "" if metrics is None else f" AND metric IN ({','.join('?' * len(metrics))})"
        with self._explained():
            values: dict[str, dict[str, Any]] = {}
            cells = f"SELECT key, metric, value FROM cells WHERE run=?{chosen} ORDER BY key, metric"
            for key, metric, value in self._connection.execute(cells, (run_id, *(metrics or ()))):
                values.setdefault(key, {})[metric] = values_from_json(f'{{"v": {value}}}')["v"]
            columns = "key, check_name, method, conditions, seed, block, cost, error"
            return Rows(
                Row(
                    name,
                    method,
                    json.loads(conditions),
                    seed,
                    block,
                    values.get(key, {}),
                    Cost(**json.loads(cost)),
                    error,
                )
                for key, name, method, conditions, seed, block, cost, error in self._connection.execute(
                    f"SELECT {columns} FROM rows WHERE run=? ORDER BY key", (run_id,)
                )
            )

    def done(self, run_id: str) -> frozenset[str]:
        """Keys of the rows that need not be measured again: all but errors."""
        with self._explained():
            found = self._connection.execute("SELECT key FROM rows WHERE run=? AND error IS NULL", (run_id,))
            return frozenset(key for (key,) in found)

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
                "SELECT id, row_count, error_count, count(key), count(error) FROM runs LEFT JOIN rows ON run=id GROUP BY id "
                "HAVING row_count != count(key) OR error_count != count(error)"
            )
            found += [f"run {name} says {said} rows but has {has}" for name, said, _, has, _ in run(counts)]
            for name, key, metric, value in run("SELECT run, key, metric, value FROM cells"):
                try:
                    values_from_json(f'{{"v": {value}}}')
                except (ValueError, KeyError, TypeError) as error:
                    found.append(f"run {name}, {key}, {metric} cannot be read: {error}")
        return found


_RUN = "id, slug, identity, status, started, finished, row_count, error_count, facts, verdicts"


def _run(line: Sequence[Any]) -> Run:
    run_id, slug, identity, status, started, finished, rows, errors, facts, verdicts = line
    return Run(run_id, slug, identity, status, started, finished, rows, errors, json.loads(facts), json.loads(verdicts))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _this_process() -> tuple[int, float]:
    return os.getpid(), psutil.Process().create_time()


def _conditions(row: Row) -> str:
    return json.dumps(dict(sorted(row.conditions.items())), ensure_ascii=False)


def _digest(value: float | Missing | Items) -> tuple[int, int, float | None, str]:
    """Number of values, of missing ones, mean of the others (NULL if NaN or none), and the value as JSON."""
    parts = value.values if isinstance(value, Items) else (value,)
    numbers = [v for v in parts if not isinstance(v, Missing)]
    mean = sum(numbers) / len(numbers) if numbers else None
    text = Row("", "", {}, 0, values={"v": value}).values_json()
    return len(parts), len(parts) - len(numbers), mean, text[len('{"v": ') : -1]
