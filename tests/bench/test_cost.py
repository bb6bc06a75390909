from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tameshi.bench.cost import measured

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells memory peaks and waits of a process")
SPIN = "while True: pass"


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_and_wall_seconds_are_counted_apart():
    _, asleep = measured(lambda: time.sleep(0.3))
    assert asleep.wall_seconds >= 0.3
    assert asleep.cpu_seconds < 0.15
    _, awake = measured(lambda: spin(0.3))
    assert awake.cpu_seconds >= 0.3


@linux
def test_the_peak_is_of_the_work_alone():
    before = np.ones(8_000_000)  # 64 MB that were there before
    result, cost = measured(lambda: float(np.ones(4_000_000).sum()))
    assert (result, len(before)) == (4_000_000.0, 8_000_000)
    assert cost.peak_bytes is not None
    assert 20e6 < cost.peak_bytes < 60e6


@linux
def test_work_that_shares_its_processor_is_known_to_have_waited():
    allowed = os.sched_getaffinity(0)
    one = {min(allowed)}
    rival = subprocess.Popen([sys.executable, "-c", f"import os; os.sched_setaffinity(0, {one})\n{SPIN}"])
    try:
        os.sched_setaffinity(0, one)
        time.sleep(0.3)
        _, cost = measured(lambda: spin(0.5))
    finally:
        os.sched_setaffinity(0, allowed)
        rival.kill()
        rival.wait()
    assert cost.busy is not None
    assert 0.1 < cost.busy < 1


def test_what_is_too_short_says_nothing_about_the_machine():
    assert measured(lambda: None)[1].busy is None
