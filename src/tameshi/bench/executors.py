"""Executors: where the work of a run is done. Inline, in spawned processes, or on a Ray cluster.

A job is one check with one seed. An executor hands back rows as they come; it writes nothing. What a worker was doing when it
died becomes an error row that says so, and the rest of its job goes on in a new worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from tameshi.bench.work import Job, work
from tameshi.nouns import Row

Emit = Callable[[Row], None]


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
            for event, row in work(job):
                if event == "row":
                    emit(row)
                if self._stopped:
                    return

    def stop(self) -> None:
        self._stopped = True


def executor_of(on: str, jobs: int, *, time_limit: float | None = None) -> Executor:
    """The executor that `--on` names.

    Args:
        on: "auto" (inline for one job without a time limit, else one process per core), "inline", "processes", "processes:N",
            "ray" (the cluster that RAY_ADDRESS names, or a local one), "ray://HOST:PORT".
        jobs: how many there are.
        time_limit: seconds that one measurement may take before its worker is ended.

    Raises:
        ValueError: none of these, or a time limit that cannot be kept.
        ImportError: Ray is asked for and not installed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    kind, _, number = on.partition(":")
    if on == "inline" or (on == "auto" and jobs == 1 and time_limit is None):
        if time_limit is not None:
            raise ValueError("--time-limit needs a process that can be ended; leave out --on inline")
        return Inline()
    if time_limit is not None and time_limit <= 0:
        raise ValueError(f"--time-limit must be more than 0 seconds, got {time_limit:g}")
    if on in {"auto", "processes"} or (kind == "processes" and number.isdigit()):
        from tameshi.bench.processes import processes

        return processes(int(number) if number else min(cores, jobs), time_limit=time_limit)
    if on == "ray" or on.startswith("ray://"):
        from tameshi.bench.on_ray import ray_workers

        return ray_workers(None if on == "ray" else on, min(cores, jobs), time_limit=time_limit)
    raise ValueError(f"--on takes auto, inline, processes:N, ray or ray://HOST:PORT, got {on!r}")
