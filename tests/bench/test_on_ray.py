"""Ray gives what the other executors give. One local cluster serves all tests here."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import ray

from tameshi.bench import run_check


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def values(result):
    return [(row.key, row.values_json(), row.error) for row in result.rows]


@pytest.mark.usefixtures("cluster")
def test_ray_gives_the_rows_that_inline_gives():
    assert values(run_check("toy", seeds=3, on="ray")) == values(run_check("toy", seeds=3))


@pytest.mark.usefixtures("cluster")
def test_a_worker_lost_once_is_replaced_and_no_row_is_missing_or_doubled(tmp_path: Path):
    result = run_check("toy", trouble=f"kill once {tmp_path / 'mark'}", on="ray")
    assert not result.errors
    assert values(result) == values(run_check("toy"))


@pytest.mark.usefixtures("cluster")
def test_a_worker_always_lost_and_one_that_hangs_become_error_rows():
    lost = run_check("toy", trouble="kill", on="ray")
    (said,) = lost.errors
    assert said.startswith("adding: nothing scale=2 seed 0: its worker was lost (")
    assert lost.run.row_count == 12
    late = run_check("toy", trouble="hang", on="ray", time_limit=1.5)
    assert list(late.errors) == ["adding: nothing scale=2 seed 0: took longer than 1.5 s and was ended"]
    assert late.run.row_count == 12


def test_a_cluster_that_is_not_there_is_one_sentence(home):
    command = [sys.executable, "-m", "tameshi", "check", "toy", "--on", "ray://127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "tameshi: there is no Ray cluster at ray://127.0.0.1:1" in done.stderr
    assert not home.exists()
