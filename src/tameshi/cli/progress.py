"""What a person sees of long work: a bar with the time left, and Ctrl-C that loses nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tameshi.cli.screen import err

if TYPE_CHECKING:
    from tameshi.bench.executors import Executor
    from tameshi.bench.run import Plan


class Progress:
    """A bar on stderr with the time left; nothing where stderr is no terminal."""

    def __init__(self, planned: Plan) -> None:
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
        )
        self._bar = bars.Progress(*columns, console=err(), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(planned.slug, total=planned.units)

    def __enter__(self) -> tuple[Callable[..., None], Callable[..., None]]:
        self._bar.start()

        def begun(run: Any, done: int) -> None:
            if done:
                sys.stderr.write(f"tameshi: going on with {run.id}, {done} rows are there already\n")
            self._bar.update(self._task, completed=done)

        def progress(row: Any, done: int, total: int) -> None:
            self._bar.update(self._task, completed=done, description=f"{row.check} · {row.method}"[:40])

        return begun, progress

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class Interruptible:
    """Ctrl-C once: finish what is being measured and stop. Twice: stop at once. Either way what is stored stays stored."""

    def __init__(self, executor: Executor) -> None:
        self._executor, self._times = executor, 0

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._asked)

    def _asked(self, *_: object) -> None:
        self._times += 1
        if self._times > 1:
            sys.stderr.write("\ntameshi: stopped at once; every finished row is stored, and the same command goes on\n")
            sys.stderr.flush()
            os._exit(130)  # daemonic workers notice that the pipe is gone
        sys.stderr.write("\ntameshi: finishing the measurement under way; press Ctrl-C again to stop at once\n")
        self._executor.stop()

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
