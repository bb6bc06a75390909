"""Workers that are tasks of a Ray cluster: a local one, or one that is there already."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from tameshi.bench.pool import Pool, Worker
from tameshi.bench.work import Job, work

PAUSE = 0.1  # seconds between two looks


def ray_workers(address: str | None, count: int, *, time_limit: float | None = None) -> Pool:
    """An executor on Ray.

    Args:
        address: "ray://HOST:PORT" of a cluster; None for the one that RAY_ADDRESS names, or else a local one.
        count: how many jobs at a time on a local one; a cluster schedules as many as it has processors.
        time_limit: seconds that one measurement may take.

    Raises:
        ImportError: Ray is not installed; names the command that installs it.
        ValueError: there is no cluster at the address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
    except ImportError as error:
        raise ImportError("--on ray needs Ray: pip install 'tameshi[ray]'") from error
    own = not ray.is_initialized()
    if own:
        local = address is None and not os.environ.get("RAY_ADDRESS")
        try:
            with warnings.catch_warnings(action="ignore"):  # what is wrong is said once, below
                if local:
                    ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
                else:
                    ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ValueError(f"there is no Ray cluster at {address or os.environ['RAY_ADDRESS']}: {error}") from error
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray has not annotated it
    slots = count if address is None else max(1, int(there.get("CPU", count)))
    return Pool(slots, RayTask, _look, time_limit=time_limit, close=ray.shutdown if own else lambda: None)


class RayTask:
    """A task that sends rows as it goes (a streaming generator of Ray); a new one for each job."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._lost: str | None = None
        self._over = True

    def take(self, job: Job) -> None:
        import ray

        # one message under way at a time: what is being measured is known here before the measurement begins
        how: dict[str, Any] = {
            "max_retries": 0,
            "num_cpus": 1,
            "num_returns": "streaming",
            "_generator_backpressure_num_objects": 1,
        }
        remote: Any = ray.remote(**how)(_serve)
        self._stream, self._over = remote.remote(job), False

    def messages(self) -> Iterator[tuple[str, Any]]:
        import ray

        while not self._over:
            ready, _ = ray.wait([self._stream], timeout=0, fetch_local=False)
            if not ready:
                return
            try:
                yield ray.get(next(self._stream))
            except StopIteration:
                self._over = True
            except ray.exceptions.RayError as error:
                self._over, self._lost = True, str(error).splitlines()[0]

    def lost(self) -> str | None:
        return self._lost

    def end(self) -> None:
        import ray

        if not self._over:
            ray.cancel(self._stream, force=True)


def _serve(job: Job) -> Iterator[tuple[str, Any]]:
    try:
        yield from work(job)
        yield "end", None
    except Exception as error:
        yield "failed", f"{type(error).__name__}: {error}"


def _look(workers: Sequence[Worker]) -> None:
    time.sleep(PAUSE)
