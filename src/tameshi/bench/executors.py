"""Executors: where the work of a run is done. Inline, or in spawned processes that each take one job at a time.

A job is one check with one seed. An executor hands back rows as they come; it writes nothing. What a worker was doing when it
died becomes an error row that says so, and the rest of its job goes on in a new worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from tameshi.bench.cost import measured
from tameshi.bench.shelf import stand
from tameshi.bench.signature import parameters
from tameshi.nouns import Items, Measurement, Missing, Row, Value
from tameshi.nouns.rows import key_of

RETRIES = 2  # of a measurement whose worker was lost; one that raised is not tried again


@dataclass(frozen=True)
class Job:
    """One check with one seed.

    Args:
        slug, check: which.
        seed: given to the check.
        options: parameter -> value; a subject as its address, or as itself for `Inline`.
        device, dtype, online: how subjects are opened.
        done: keys that are stored already.
    """

    slug: str
    check: str
    seed: int
    options: Mapping[str, Any]
    device: str = "cpu"
    dtype: str = "auto"
    online: bool = False
    done: frozenset[str] = field(default_factory=frozenset)


Emit = Callable[[Row], None]
Begin = Callable[[str], None]


class Executor(Protocol):
    """What the runner needs to know of an executor."""

    def run(self, jobs: Sequence[Job], emit: Emit) -> None:
        """Do all jobs; call `emit` with each row, in this thread, as soon as it is there."""

    def stop(self) -> None:
        """Finish what is being measured now and begin nothing more. May be called from a signal handler."""


class Inline:
    """In this process, one job after the other."""

    def __init__(self) -> None:
        self._stopped = False

    def run(self, jobs: Sequence[Job], emit: Emit) -> None:
        for job in jobs:
            for row in work(job, stopped=lambda: self._stopped):
                emit(row)

    def stop(self) -> None:
        self._stopped = True


class Processes:
    """In `count` spawned processes, each with one thread for the arithmetic.

    Args:
        count: how many at a time.
        time_limit: seconds that one measurement may take before its worker is ended; None for no limit.
    """

    def __init__(self, count: int, *, time_limit: float | None = None) -> None:
        if count < 1:
            raise ValueError(f"the number of processes must be at least 1, got {count}")
        self._count, self._time_limit = count, time_limit
        self._stopped = False
        self._workers: list[_Worker] = []

    def run(self, jobs: Sequence[Job], emit: Emit) -> None:
        waiting = deque(jobs)
        lost: dict[str, int] = {}
        try:
            while waiting or self._workers:
                while waiting and len(self._workers) < self._count and not self._stopped:
                    self._workers.append(_Worker(waiting.popleft()))
                if self._stopped and not self._workers:
                    return
                wait([w.pipe for w in self._workers], timeout=0.2)
                for worker in list(self._workers):
                    if self._stopped:
                        worker.stop()
                    left = self._attend(worker, emit, lost)
                    if left is not None:
                        self._workers.remove(worker)
                        worker.end()
                        waiting.extendleft(left)
        finally:
            for worker in self._workers:
                worker.end()
            self._workers.clear()

    def _attend(self, worker: _Worker, emit: Emit, lost: dict[str, int]) -> list[Job] | None:
        """Read what a worker has to say. None while it works; else what is left of its job."""
        for message, content in worker.messages():
            if message == "row":
                emit(content)
            elif message == "failed":
                raise JobFailed(content)
            elif message == "end":
                return []
        late = self._time_limit is not None and worker.busy_seconds > self._time_limit
        if worker.alive and not late:
            return None
        measuring = worker.measuring
        if measuring is None:
            raise JobFailed(f"a worker for {worker.job.check} ended before it measured anything ({worker.ending})")
        lost[measuring.key] = lost.get(measuring.key, 0) + 1
        if late or lost[measuring.key] > RETRIES:
            reason = (
                f"took longer than {self._time_limit:g} s and was ended"
                if late
                else f"its worker was lost ({worker.ending})"
            )
            emit(replace(measuring, error=reason))
            return [replace(worker.job, done=worker.job.done | worker.finished | {measuring.key})]
        return [replace(worker.job, done=worker.job.done | worker.finished)]

    def stop(self) -> None:
        self._stopped = True


class JobFailed(RuntimeError):
    """A check could not even be started in a worker; the sentence says why."""


class _Worker:
    """A spawned process and the pipe to it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.finished: frozenset[str] = frozenset()
        self.measuring: Row | None = None
        self._since = time.monotonic()
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def busy_seconds(self) -> float:
        return time.monotonic() - self._since if self.measuring is not None else 0.0

    @property
    def ending(self) -> str:
        self._process.join(1)
        code = self._process.exitcode
        return "it hangs" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"

    def messages(self) -> Iterator[tuple[str, Any]]:
        with contextlib.suppress(EOFError, OSError):  # a dead worker's pipe: what it still held has been read
            while self.pipe.poll():
                message, content = self.pipe.recv()
                if message == "begin":
                    self.measuring, self._since = content, time.monotonic()
                elif message == "row":
                    self.measuring, self.finished = None, self.finished | {content.key}
                yield message, content

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # it may have ended on its own
            self.pipe.send("stop")

    def end(self) -> None:
        if self._process.is_alive():
            self._process.join(2 if self.measuring is None else 0)
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(job: Job, pipe: Connection) -> None:
    """What a spawned process does: the job, row by row, until it ends, is stopped, or its parent is gone."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which asks for an orderly stop
    stopped = threading.Event()
    threading.Thread(target=_listen, args=(pipe, stopped), daemon=True).start()
    try:
        for row in work(job, stopped=stopped.is_set, begin=lambda row: pipe.send(("begin", row))):
            pipe.send(("row", row))
        pipe.send(("end", None))
    except BrokenPipeError:
        os._exit(1)  # the parent is gone; what it has is stored, the rest will be measured again
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def _listen(pipe: Connection, stopped: threading.Event) -> None:
    try:
        while True:
            pipe.recv()
            stopped.set()
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone


def work(
    job: Job, *, stopped: Callable[[], bool] = lambda: False, begin: Callable[[Row], None] = lambda row: None
) -> Iterator[Row]:
    """Walk a check and do every measurement that is not done, with one thread for the arithmetic.

    Args:
        job: which check, seed and options.
        stopped: asked before each measurement.
        begin: told which row is about to be measured.

    Yields:
        A row for each measurement; one with `error` where the work raised.
    """
    for name, measurement in walk(job):
        conditions = dict(measurement.conditions)
        row = Row(name, measurement.method, conditions, job.seed, measurement.block)
        if row.key in job.done:
            continue
        if stopped():
            return
        begin(row)
        yield _measure(row, measurement)


def walk(job: Job) -> Iterator[tuple[str, Measurement]]:
    """The measurements of a job, none of them done."""
    check = stand(job.slug).check(job.check)
    given: dict[str, Any] = {}
    for parameter in parameters(check.function):
        if parameter.name in job.options:
            value = job.options[parameter.name]
            given[parameter.name] = _opened(parameter.type, value, job) if parameter.is_subject else value
    keys: set[str] = set()
    for measurement in check.function(**given, seed=job.seed):
        key = key_of(check.name, measurement.method, measurement.conditions, job.seed, measurement.block)
        if key in keys:
            raise ValueError(f"{job.slug} measures {key} twice; conditions or block must tell the two apart")
        keys.add(key)
        yield check.name, measurement


_subjects: dict[tuple[Any, ...], Any] = {}


def _opened(kind: Any, value: Any, job: Job) -> Any:
    """A subject from its address, opened once in a process; several likewise; None and subjects as they are."""
    if isinstance(value, str):
        asked = (kind, value, job.device, job.dtype, job.online)
        if asked not in _subjects:
            _subjects[asked] = kind.open(value, device=job.device, dtype=job.dtype, online=job.online)
        return _subjects[asked]
    if isinstance(value, tuple):
        return tuple(_opened(kind, v, job) for v in value)
    if isinstance(value, dict):
        return {name: _opened(kind, v, job) for name, v in value.items()}
    return value


def _measure(row: Row, measurement: Measurement) -> Row:
    try:
        with _one_thread():
            values, cost = measured(measurement.work)
        return replace(row, values={name: _value(v) for name, v in values.items()}, cost=cost)
    except Exception as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f" ({Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno})" if where else ""
        return replace(row, error=f"{type(error).__name__}: {error}{place}")


def _value(value: Any) -> Value | Items:
    if isinstance(value, (Missing, Items)):
        return value
    if isinstance(value, (str, bytes)):
        raise TypeError(f"a measured value must be a number, got {value!r}")
    if hasattr(value, "__len__") and getattr(value, "shape", None) != ():
        return Items(value)
    return float(value)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for BLAS, OpenMP and torch: the same sums in the same order on every machine and in every executor."""
    import sys

    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 1
    with threadpool_limits(1):
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)
