"""Workers that are spawned processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from tameshi.bench.pool import Pool, Worker
from tameshi.bench.work import Job, work

PAUSE = 0.2  # seconds between two looks at the clock


def processes(count: int, *, time_limit: float | None = None) -> Pool:
    """An executor of `count` processes.

    Raises:
        ValueError: count below 1.
    """
    if count < 1:
        raise ValueError(f"the number of processes must be at least 1, got {count}")
    return Pool(count, Spawned, _look, time_limit=time_limit)


class Spawned:
    """A spawned process and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._idle = True

    def take(self, job: Job) -> None:
        self._idle = False
        with contextlib.suppress(OSError):  # it died while idle: that is seen, and said, by `lost`
            self.pipe.send(job)

    def messages(self) -> Iterator[tuple[str, Any]]:
        with contextlib.suppress(EOFError, OSError):  # a dead worker's pipe: what it still held has been read
            while self.pipe.poll():
                message = self.pipe.recv()
                self._idle = message[0] == "end"
                yield message

    def lost(self) -> str | None:
        code = self._process.exitcode
        return None if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        if self._idle:
            with contextlib.suppress(OSError):  # it may have ended on its own
                self.pipe.send(None)
            self._process.join(10)  # it tidies up better than we could
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _look(workers: Sequence[Worker]) -> None:
    wait([cast(Spawned, worker).pipe for worker in workers], timeout=PAUSE)


def serve(pipe: Connection) -> None:
    """What a spawned process does: job after job, row by row, until there is none left or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which asks for an orderly stop
    jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, jobs), daemon=True).start()
    try:
        while (job := jobs.get()) is not None:
            try:
                for event in work(job):
                    pipe.send(event)
            except BrokenPipeError:
                raise
            except Exception as error:
                pipe.send(("failed", f"{type(error).__name__}: {error}"))
            else:
                pipe.send(("end", None))
    except BrokenPipeError:
        os._exit(1)  # the parent is gone; what it has is stored, the rest will be measured again


def _listen(pipe: Connection, jobs: queue.SimpleQueue[Job | None]) -> None:
    try:
        while True:
            jobs.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone
