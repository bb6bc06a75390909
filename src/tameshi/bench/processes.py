"""Workers that are spawned processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
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

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._over = False

    def messages(self) -> Iterator[tuple[str, Any]]:
        with contextlib.suppress(EOFError, OSError):  # a dead worker's pipe: what it still held has been read
            while self.pipe.poll():
                message = self.pipe.recv()
                self._over = message[0] == "end"
                yield message

    def lost(self) -> str | None:
        code = self._process.exitcode
        return None if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        if self._over:
            self._process.join(10)  # it is on its way out, and tidies up better than we could
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _look(workers: Sequence[Worker]) -> None:
    wait([cast(Spawned, worker).pipe for worker in workers], timeout=PAUSE)


def serve(job: Job, pipe: Connection) -> None:
    """What a spawned process does: the job, row by row, until it ends or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which asks for an orderly stop
    threading.Thread(target=_listen, args=(pipe,), daemon=True).start()
    try:
        for event in work(job):
            pipe.send(event)
        pipe.send(("end", None))
    except BrokenPipeError:
        os._exit(1)  # the parent is gone; what it has is stored, the rest will be measured again
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def _listen(pipe: Connection) -> None:
    try:
        pipe.recv()  # nothing ever comes, but the end of the pipe
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone
