"""What a measurement costs: CPU and wall seconds, memory above what was there before, and how busy the machine was.

On Linux the kernel keeps the highest memory use of a process and lets it be reset (`/proc/self/clear_refs`), and how long
each thread stood in line for a processor (`schedstat`), so that both are exact and cost nothing. Elsewhere they are None:
unknown, not zero.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tameshi.nouns import Cost

T = TypeVar("T")
_STATUS, _RESET, _THREADS = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/self/task")


def measured(work: Callable[[], T]) -> tuple[T, Cost]:
    """Do the work and say what it cost."""
    memory = _start_memory()
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()
        cuda_before = cuda.memory_allocated()
    in_line = _in_line()
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    cpu_seconds, wall_seconds = time.process_time() - cpu, time.perf_counter() - wall
    cost = Cost(
        cpu_seconds=cpu_seconds,
        wall_seconds=wall_seconds,
        peak_bytes=None if memory is None else max(0, _kilobytes("VmHWM") * 1024 - memory),
        cuda_bytes=None if cuda is None else int(cuda.max_memory_allocated() - cuda_before),
        busy=_kept_waiting(in_line, _in_line(), cpu_seconds),
    )
    return result, cost


def _kilobytes(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1])


def _start_memory() -> int | None:
    """Reset the kernel's peak and return the bytes held now; None where this cannot be done."""
    try:
        with _RESET.open("w") as reset:  # a switch of the kernel, not a file
            reset.write("5")
        return _kilobytes("VmRSS") * 1024
    except (OSError, StopIteration):
        return None


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _in_line() -> float | None:
    """Seconds that the threads of this process have stood in line for a processor; None where nobody counts them."""
    try:
        return sum(int(file.read_text().split()[1]) for file in _THREADS.glob("*/schedstat")) / 1e9
    except (OSError, IndexError):
        return None


def _kept_waiting(before: float | None, after: float | None, worked: float) -> float | None:
    if before is None or after is None or worked < 0.1:  # too short to say
        return None
    waited = max(0.0, after - before)  # a thread that ended takes its seconds along
    return waited / (waited + worked)
