from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tameshi.bench import run_check
from tameshi.bench.executors import Inline
from tameshi.bench.run import execute, plan
from tameshi.bench.store import Store


def values(result):
    """What must be equal: keys and values, not costs."""
    return [(row.key, row.values_json(), row.error) for row in result.rows]


def test_a_claim_that_is_true_holds_and_one_that_is_not_fails():
    result = run_check("toy")
    assert {c: v.outcome for c, v in result.verdicts.items()} == {"C1": "holds", "C2": "fails"}
    assert result.run.status == "finished"
    assert len(result.rows) == 12


def test_the_result_can_be_looked_at_as_table_frame_html_and_json():
    result = run_check("toy")
    frame = result.to_pandas()
    assert len(frame) == 12 * 20
    assert set(frame["method"]) == {"one", "nothing", "baseline"}
    assert result.table().row_count == 2
    assert result.measurements().row_count == 6
    assert "<b>holds</b>" in result._repr_html_()
    assert json.loads(json.dumps(result.to_json()))["verdicts"]["C1"]["outcome"] == "holds"


def test_inline_and_processes_give_the_same_rows_whatever_the_hash_seed(monkeypatch):
    inline = run_check("toy", seeds=3)
    for hash_seed, count in (("0", 1), ("1", 2)):
        monkeypatch.setenv("PYTHONHASHSEED", hash_seed)  # spawned processes read it
        assert values(run_check("toy", seeds=3, on=f"processes:{count}")) == values(inline)


def test_a_library_that_the_work_is_the_first_to_import_gets_one_thread_as_well(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    result = run_check("toy", trouble="threads", on="processes:2")
    (row,) = [row for row in result.rows if (row.method, row.seed, row.conditions["scale"]) == ("nothing", 0, 2)]
    assert row.values["value"].values == (1.0,)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"first_seed": -1}, "--seed must be at least 0"),
        ({"only": "nothing"}, "toy has no check 'nothing'; it has adding"),
        ({"scale": 3}, "has no option --scale; did you mean --scales"),
        ({"device": "tpu"}, "--device takes auto, cpu, cuda or mps"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_nothing_is_written(home, options, said):
    with pytest.raises(ValueError, match=said):
        run_check("toy", **options)
    assert not home.exists()


def test_an_unbuilt_check_is_said_in_one_sentence():
    with pytest.raises(ValueError, match="the check of kuda is not built yet"):
        run_check("kuda")


def test_what_raises_becomes_an_error_row_and_the_run_goes_on():
    result = run_check("toy", trouble="raise")
    assert result.run.row_count == 12
    assert len(result.errors) == 1
    assert "RuntimeError: the toy was told to fail (toy.py:" in result.errors[0]


def test_a_worker_that_is_killed_once_is_replaced_and_no_row_is_missing(tmp_path):
    undisturbed = run_check("toy")
    result = run_check("toy", trouble=f"kill once {tmp_path / 'mark'}", on="processes:2")
    assert not result.errors
    assert values(result) == values(undisturbed)


def test_a_worker_that_is_always_killed_becomes_an_error_row_that_names_it():
    result = run_check("toy", trouble="kill", on="processes:2")
    assert result.run.row_count == 12
    assert list(result.errors) == ["adding: nothing scale=2 seed 0: its worker was lost (signal 9)"]


def test_work_that_hangs_is_ended_at_its_time_limit_and_the_rest_goes_on():
    result = run_check("toy", trouble="hang", on="processes:2", time_limit=1.0)
    assert list(result.errors) == ["adding: nothing scale=2 seed 0: took longer than 1 s and was ended"]
    assert result.run.row_count == 12


def test_the_same_command_measures_error_rows_again():
    failed = run_check("toy", trouble="raise")
    again = run_check("toy", trouble="raise")
    assert again.run.id == failed.run.id
    assert run_check("toy", trouble="raise", fresh=True).run.id != failed.run.id


def test_a_stopped_run_says_so_and_goes_on_with_the_same_rows():
    undisturbed = run_check("toy")
    with Store() as store:
        planned = plan("toy", {})
        executor = Inline()
        first = execute(
            planned,
            store,
            executor,
            fresh=True,
            progress=lambda row, done, total: executor.stop() if done == 5 else None,
        )
        assert (first.run.status, first.run.row_count, dict(first.verdicts)) == ("stopped", 5, {})
        second = execute(planned, store, Inline())
    assert second.run.id == first.run.id
    assert values(second) == values(undisturbed)


def test_a_run_of_other_options_or_seeds_is_another_run():
    with Store() as store:
        identities = {
            plan("toy", options, **more).identity
            for options, more in (({}, {}), ({"items": 3}, {}), ({}, {"seeds": 5}), ({}, {"first_seed": 1}))
        }
        assert len(identities) == 4
        assert plan("toy", {}).identity == plan("toy", {}).identity
        assert store.runs() == []


COMMAND = [sys.executable, "-m", "tameshi", "check", "toy", "--seeds", "3", "--sleep", "0.03", "--on"]


@pytest.mark.parametrize("on", ["inline", "processes:2"])
def test_a_run_killed_at_random_moments_ends_with_the_rows_of_an_undisturbed_one(home, on):
    undisturbed = run_check("toy", seeds=3, sleep=0.0)
    rng = random.Random(on)
    killed = 0
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    for _ in range(12):
        process = subprocess.Popen(
            [*COMMAND, on], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(0.55 + rng.random() * 0.6)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        if killed >= 4:
            break
    subprocess.run([*COMMAND, on], env=environment, check=True, capture_output=True, timeout=120)
    with Store() as store:
        disturbed = [run for run in store.runs("toy") if run.facts["options"].get("sleep") == 0.03]
        assert len(disturbed) >= 1
        from tameshi.bench.result import Result

        last = Result.of(store, disturbed[0].id)
        assert last.run.status == "finished"
        assert values(last) == values(undisturbed)
        assert store.troubles() == []
    assert killed >= 3
