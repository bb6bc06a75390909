"""How a check is run: options are read, subjects opened, rows measured and stored, claims judged.

A run that was killed goes on where it stopped: the same command finds it by its identity, a hash of everything that decides
the rows (checks, options, contents of the subjects, seeds, our code), and measures only what is not stored yet.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil

import tameshi.checks
from tameshi.bench.executors import Executor, executor_of
from tameshi.bench.judge import judge
from tameshi.bench.result import Result
from tameshi.bench.shelf import stand
from tameshi.bench.signature import Parameter, parameters
from tameshi.bench.store import Run, Store
from tameshi.bench.verdicts import to_json
from tameshi.bench.work import Job, opened, walk
from tameshi.nouns import Row


@dataclass(frozen=True)
class Plan:
    """What is going to be run, with everything read and opened, and nothing written yet.

    Args:
        slug: of the paper.
        jobs: one per check and seed.
        units: measurements in all.
        identity: hash of what decides the rows.
        facts: command, options, subjects, versions, machine.
    """

    slug: str
    jobs: tuple[Job, ...]
    units: int
    identity: str
    facts: Mapping[str, Any]


def plan(
    slug: str,
    options: Mapping[str, Any],
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    only: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    online: bool = False,
    command: Sequence[str] = (),
) -> Plan:
    """Read and open everything a run needs, so that a wrong input is found before anything is written.

    Args:
        slug: of the paper.
        options: parameter name -> value, as the checks' signatures name them.
        seeds: how many; None for as many as each check asks for.
        first_seed: the first of them.
        only: the name of the one check to run.
        device, dtype, online: how subjects are opened.
        command: as typed, to repeat the run.

    Raises:
        ValueError: an option that no check has, a subject that does not open, seeds below 1, ...
    """
    if seeds is not None and seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds}")
    if first_seed < 0:
        raise ValueError(f"--seed must be at least 0, got {first_seed}")
    if (limit := options.get("limit")) is not None and limit < 1:
        raise ValueError(f"--limit must be at least 1, got {limit}")
    shelf = stand(slug)
    if device == "auto" and not any(p.is_subject for check in shelf.checks for p in parameters(check.function)):
        device = "cpu"  # nothing to put on a device, so torch need not be asked
    checks = shelf.checks if only is None else (shelf.check(only),)
    known = {p.name: p for check in checks for p in parameters(check.function)}
    for name in options:
        if name not in known:
            raise ValueError(unknown_option(slug, name, list(known)))
    jobs: list[Job] = []
    units = 0
    subjects: dict[str, Any] = {}
    for check in checks:
        given = _given(check.function, options)
        count = check.seeds if seeds is None else seeds
        made = [
            Job(slug, check.name, seed, given, device_of(device), dtype, online)
            for seed in range(first_seed, first_seed + count)
        ]
        units += count * sum(1 for _ in walk(made[0]))
        jobs += made
        for parameter in parameters(check.function):
            value = given.get(parameter.name)
            left_out = value is None or (isinstance(value, (tuple, dict)) and not value)
            if parameter.is_subject and not left_out:
                subjects[parameter.name] = _described(parameter, value, made[0])
    decided = {
        "slug": slug,
        "jobs": [
            [job.check, job.seed, {k: v for k, v in _jsonable(job.options).items() if k not in subjects}]
            for job in jobs
        ],
        "subjects": {name: fingerprints for name, (_, fingerprints) in subjects.items()},
        "dtype": dtype,
        "device": device_of(device),
        "code": code_fingerprint(),
    }
    identity = hashlib.sha256(json.dumps(decided, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    facts = {
        "command": list(command),
        "checks": [check.name for check in checks],
        "seeds": sorted({job.seed for job in jobs}),
        "options": _options(jobs, subjects),
        "subjects": {name: {"name": shown, "sha256": prints} for name, (shown, prints) in subjects.items()},
        "device": device_of(device),
        "dtype": dtype,
        "versions": versions(),
        "machine": machine(),
    }
    return Plan(slug, tuple(jobs), units, identity, facts)


Progress = Callable[[Row, int, int], None]


def execute(
    planned: Plan,
    store: Store,
    executor: Executor,
    *,
    fresh: bool = False,
    begun: Callable[[Run, int], None] = lambda run, done: None,
    progress: Progress = lambda row, done, total: None,
) -> Result:
    """Do what is planned, commit each row as it comes, judge, and record the verdicts.

    Args:
        planned: from `plan`.
        store: where the rows go.
        executor: where the work is done.
        fresh: begin anew even if a run of the same identity is unfinished.
        begun: told the run and how many of its rows are there already.
        progress: told each row, how many are done, and how many there are.
    """
    left = None if fresh else store.unfinished(planned.identity)
    run = store.begin(planned.slug, planned.identity, planned.facts) if left is None else store.resume(left.id)
    done = store.done(run.id)
    begun(run, len(done))
    count = len(done)

    def emit(row: Row) -> None:
        nonlocal count
        store.commit(run.id, row)
        count += 1
        progress(row, count, planned.units)

    try:
        executor.run([replace(job, done=done) for job in planned.jobs], emit)
    except BaseException:
        store.finish(run.id, {}, status="stopped")
        raise
    if len(store.done(run.id)) + store.run(run.id).error_count < planned.units:
        store.finish(run.id, {}, status="stopped")
        return Result.of(store, run.id)
    verdicts = judge(stand(planned.slug).rules, store.rows(run.id))
    store.finish(run.id, {claim: to_json(verdict) for claim, verdict in verdicts.items()})
    return Result.of(store, run.id)


def run_check(
    slug: str,
    *,
    seeds: int | None = None,
    first_seed: int = 0,
    only: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    online: bool = False,
    on: str = "inline",
    time_limit: float | None = None,
    store: Store | None = None,
    fresh: bool = False,
    **options: Any,
) -> Result:
    """Run a paper's check and judge its claims: what `tameshi check SLUG` does.

    Args:
        slug: of the paper.
        seeds: how many; None for as many as each check asks for.
        first_seed: the first of them.
        only: the name of the one check to run.
        device: "cpu", "cuda", "auto".
        dtype: "auto" (as stored), "float32", "bfloat16".
        online: a hub id may be downloaded.
        on: "inline", where subjects may also be given as objects; "processes:N"; "ray".
        time_limit: seconds that one measurement may take; needs processes or Ray.
        store: where rows go; by default the user's.
        fresh: begin anew even if the same run is unfinished.
        options: of the checks, as their signatures name them: `model="./my-llama"`, `caps=(64,)`.

    Raises:
        ValueError: one sentence for every wrong input, before anything is written.
    """
    planned = plan(
        slug, options, seeds=seeds, first_seed=first_seed, only=only, device=device, dtype=dtype, online=online
    )
    executor = executor_of(on, len(planned.jobs), time_limit=time_limit)
    if store is not None:
        return execute(planned, store, executor, fresh=fresh)
    with Store() as own:
        return execute(planned, own, executor, fresh=fresh)


def unknown_option(slug: str, name: str, known: Sequence[str]) -> str:
    """The sentence for an option that a paper's checks do not have."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = (
        f"did you mean --{near[0].replace('_', '-')}?" if near else f"it has --{', --'.join(known).replace('_', '-')}"
    )
    return f"the check of {slug} has no option --{name.replace('_', '-')}; {hint}"


def device_of(asked: str) -> str:
    """The device that "auto" means here; others as they are.

    Raises:
        ValueError: cuda or mps is asked for and not there.
    """
    if asked == "cpu":
        return asked
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = asked.split(":")[0]
    if kind not in there:
        raise ValueError(f"--device takes auto, cpu, cuda or mps, got {asked!r}")
    if not there[kind]:
        raise ValueError(f"--device {asked} is not available here; leave it out, or say cpu")
    return asked


def _options(jobs: Sequence[Job], subjects: Container[str]) -> dict[str, Any]:
    """Option -> its value, or check -> value where the checks of a paper differ in its default."""
    each: dict[str, dict[str, Any]] = {}
    for job in jobs:
        for name, value in job.options.items():
            if name not in subjects:
                each.setdefault(name, {})[job.check] = _jsonable(value)
    shared = {name: next(iter(values.values())) for name, values in each.items()}
    return {n: shared[n] if all(v == shared[n] for v in values.values()) else values for n, values in each.items()}


def _given(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for parameter in parameters(function):
        if parameter.name in options:
            found[parameter.name] = options[parameter.name]
        elif not parameter.required:
            found[parameter.name] = parameter.default
        else:
            raise ValueError(f"this check needs {parameter.option} {parameter.metavar}")
    return found


def _described(parameter: Parameter, given: Any, job: Job) -> tuple[Any, Any]:
    """Name and fingerprint of a subject, or of several, in the shape of the parameter."""
    held = opened(parameter.type, given, job)
    if isinstance(held, dict):
        return {k: v.name for k, v in held.items()}, {k: v.fingerprint for k, v in held.items()}
    if isinstance(held, tuple):
        return [v.name for v in held], [v.fingerprint for v in held]
    return held.name, held.fingerprint


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_jsonable(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


@cache
def code_fingerprint() -> str:
    """Hash of tameshi's own sources: rows measured by other code are never mixed into a run."""
    digest = hashlib.sha256()
    for root in (Path(tameshi.__file__).parent, *map(Path, tameshi.checks.__path__[1:])):
        for file in sorted(root.rglob("*.py")):
            digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, tameshi and the libraries that decide numbers, as far as they are installed."""
    found = {"python": platform.python_version(), "tameshi": tameshi.__version__}
    for name in ("numpy", "scipy", "torch", "transformers", "scikit-learn", "diffusers", "inspect-ai", "trl", "peft"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What the run was made on; no host or user name."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found
