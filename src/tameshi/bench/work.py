"""The work of a job: a check walked with one seed, every measurement that is not stored yet done and measured."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tameshi.bench.cost import measured
from tameshi.bench.shelf import stand
from tameshi.bench.signature import parameters
from tameshi.nouns import Items, Measurement, Missing, Row, Value
from tameshi.nouns.rows import key_of


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


LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Event = tuple[Literal["begin", "row"], Row]


def work(job: Job) -> Iterator[Event]:
    """Walk a check and do every measurement that is not done, with one thread for the arithmetic.

    Yields:
        For each measurement ("begin", the row without values), then ("row", the row); with `error` where the work raised.
    """
    for name, measurement in walk(job):
        row = Row(name, measurement.method, dict(measurement.conditions), job.seed, measurement.block)
        if row.key in job.done:
            continue
        yield "begin", row
        yield "row", _measure(row, measurement)


def walk(job: Job) -> Iterator[tuple[str, Measurement]]:
    """The measurements of a job, none of them done."""
    check = stand(job.slug).check(job.check)
    given: dict[str, Any] = {}
    for parameter in parameters(check.function):
        if parameter.name in job.options:
            value = job.options[parameter.name]
            given[parameter.name] = opened(parameter.type, value, job) if parameter.is_subject else value
    keys: set[str] = set()
    for measurement in check.function(**given, seed=job.seed):
        key = key_of(check.name, measurement.method, measurement.conditions, job.seed, measurement.block)
        if key in keys:
            raise ValueError(f"{job.slug} measures {key} twice; conditions or block must tell the two apart")
        keys.add(key)
        yield check.name, measurement


_subjects: dict[tuple[Any, ...], Any] = {}


def opened(kind: Any, value: Any, job: Job) -> Any:
    """A subject from its address, opened once in a process; several likewise; None and subjects as they are."""
    if isinstance(value, str):
        asked = (kind, value, job.device, job.dtype, job.online)
        if asked not in _subjects:
            _subjects[asked] = kind.open(value, device=job.device, dtype=job.dtype, online=job.online)
        return _subjects[asked]
    if isinstance(value, tuple):
        return tuple(opened(kind, v, job) for v in value)
    if isinstance(value, dict):
        return {name: opened(kind, v, job) for name, v in value.items()}
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
    """One thread for BLAS, OpenMP and torch: the same sums in the same order on every machine and in every executor.

    Two workers with two threads each on two processors also spend most of their time waiting for each other. A library that
    the work is the first to import reads the number from the environment.
    """
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else os.cpu_count() or 1
    told = {name: os.environ.get(name) for name in LIMITS}
    os.environ.update(dict.fromkeys(LIMITS, "1"))
    try:
        with threadpool_limits(1):
            if torch is not None:
                torch.set_num_threads(1)
            yield
    finally:
        for name, value in told.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
