"""A pool of workers, each with one job at a time: what is common to processes and Ray.

The pool knows what each worker is measuring. A worker that is lost is replaced, and what it was measuring is tried again, at
most twice; then, or when a measurement takes longer than its time limit, an error row says what happened and the run goes on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tameshi.bench.work import Job
from tameshi.nouns import Row

RETRIES = 2  # of a measurement whose worker was lost; one that raised is not tried again


class JobFailed(ValueError):
    """A check could not even be started in a worker; the sentence says why."""


class Worker(Protocol):
    """Somebody who does one job at a time and tells what comes of it."""

    def take(self, job: Job) -> None:
        """Begin a job. Only when there is none under way."""

    def messages(self) -> Iterator[tuple[str, Any]]:
        """("begin", row without values), ("row", row), ("failed", sentence) or ("end", None), as far as they are there now."""

    def lost(self) -> str | None:
        """How the worker ended, if it did; None while it lives."""

    def end(self) -> None:
        """End it now, if it still lives."""


@dataclass
class _Desk:
    """A worker with what is known of its job."""

    worker: Worker
    job: Job
    finished: set[str] = field(default_factory=set)
    measuring: Row | None = None
    since: float = 0.0

    def take(self, job: Job) -> None:
        self.job, self.finished, self.measuring, self.since = job, set(), None, time.monotonic()
        self.worker.take(job)

    def rest(self, *without: str) -> Job:
        return replace(self.job, done=self.job.done | self.finished | frozenset(without))


class Pool:
    """An executor over workers of any kind.

    Args:
        count: how many at a time.
        hire: makes a worker, who then takes job after job.
        look: waits a moment until some worker may have something to say.
        time_limit: seconds that one measurement may take; None for no limit.
        close: called when all is done.
    """

    def __init__(
        self,
        count: int,
        hire: Callable[[], Worker],
        look: Callable[[Sequence[Worker]], None],
        *,
        time_limit: float | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._count, self._hire, self._look, self._time_limit, self._close = count, hire, look, time_limit, close
        self._stopped = False

    def run(self, jobs: Sequence[Job], emit: Callable[[Row], None]) -> None:
        waiting = deque(jobs)
        desks: list[_Desk] = []
        losses: dict[str, int] = {}
        try:
            while desks or (waiting and not self._stopped):
                while waiting and len(desks) < self._count and not self._stopped:
                    desks.append(_Desk(self._hire(), waiting[0]))
                    desks[-1].take(waiting.popleft())
                self._look([desk.worker for desk in desks])
                for desk in list(desks):
                    left = self._attend(desk, emit, losses)
                    if left is None:
                        continue
                    if left == [] and waiting and not self._stopped:  # it is done and well: libraries stay imported
                        desk.take(waiting.popleft())
                        continue
                    desks.remove(desk)
                    desk.worker.end()
                    waiting.extendleft(left)
        finally:
            for desk in desks:
                desk.worker.end()
            self._close()

    def stop(self) -> None:
        self._stopped = True

    def _attend(self, desk: _Desk, emit: Callable[[Row], None], losses: dict[str, int]) -> list[Job] | None:
        """Hear what a worker has to say. None while it works; else what is left of its job."""
        ending = desk.worker.lost()  # asked first, so that all it said before it ended is heard below
        for message, content in desk.worker.messages():
            if message == "begin":
                desk.measuring, desk.since = content, time.monotonic()
            elif message == "row":
                desk.measuring, desk.since = None, time.monotonic()
                desk.finished.add(content.key)
                emit(content)
                if self._stopped:
                    return []  # what it has begun since is measured again by the run that goes on
            elif message == "failed":
                raise JobFailed(content)
            elif message == "end":
                return []
        measuring = desk.measuring
        if self._stopped and measuring is None:
            return []
        late = (
            self._time_limit is not None and measuring is not None and time.monotonic() - desk.since > self._time_limit
        )
        if ending is None and not late:
            return None
        if measuring is None:
            key = f"{desk.job.check} {desk.job.seed}"
            losses[key] = losses.get(key, 0) + 1
            if losses[key] > RETRIES:
                raise JobFailed(
                    f"three workers for {desk.job.check} were lost before they measured anything ({ending})"
                )
            return [desk.rest()]
        losses[measuring.key] = losses.get(measuring.key, 0) + 1
        if late:
            emit(replace(measuring, error=f"took longer than {self._time_limit:g} s and was ended"))
        elif losses[measuring.key] > RETRIES:
            emit(replace(measuring, error=f"its worker was lost ({ending})"))
        else:
            return [desk.rest()]
        return [desk.rest(measuring.key)]
