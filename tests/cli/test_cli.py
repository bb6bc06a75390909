from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def tameshi(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tameshi", *args],
        capture_output=True, text=True, check=False, timeout=240, env={**os.environ, **environment},
    )  # fmt: skip


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("tameshi: ")
    return done.stderr


def test_papers_lists_fifty_in_both_languages():
    listed = json.loads(tameshi("papers", "--json", TAMESHI_SHELF="").stdout)
    assert len(listed) == 50
    japanese = tameshi("papers", "--lang", "ja", TAMESHI_SHELF="").stdout
    assert "50本の論文" in japanese
    assert "クエリとキーの幾何" in japanese


def test_papers_are_chosen_by_wing_category_and_text():
    assert {p["wing"] for p in json.loads(tameshi("papers", "--wing", "kv", "--json").stdout)} == {"kv"}
    chosen = json.loads(tameshi("papers", "--category", "cs.RO", "--json").stdout)
    assert chosen
    assert all("cs.RO" in p["categories"] for p in chosen)
    assert "no paper fits" in tameshi("papers", "--search", "there is nothing like this").stdout
    assert "there is no wing 'kvv'" in one_sentence(tameshi("papers", "--wing", "kvv"))


@pytest.mark.parametrize("name", ["q-filters", "2503.02812", "https://arxiv.org/abs/2503.02812v1"])
def test_show_takes_slug_id_and_address(name):
    shown = tameshi("show", name).stdout
    assert "Q-Filters" in shown
    assert "99 % at 32x compression" in shown


def test_a_paper_whose_check_is_not_built_says_so_everywhere():
    assert "未実装" in tameshi("show", "kuda", "--lang", "ja").stdout
    assert "The check of this paper is not built yet." in tameshi("show", "kuda").stdout
    assert json.loads(tameshi("show", "kuda", "--json").stdout)["check_built"] is False
    line = next(line for line in tameshi("papers").stdout.splitlines() if " kuda " in line)
    assert "not built yet" in line


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["check", "q-filter"], "did you mean q-filters?"),
        (["check", "9999.99999"], "arXiv 9999.99999 is not on the shelf"),
        (["check", "kuda"], "the check of kuda is not built yet"),
        (["check"], "name at least one paper, or --all"),
        (["check", "toy", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["check", "toy", "--limit", "-3"], "--limit must be at least 1, got -3"),
        (["check", "toy", "--scales", "x"], "--scales takes a whole number"),
        (["check", "toy", "--on", "moon"], "--on takes"),
        (["check", "toy", "--on", "processes:0"], "at least 1, got 0"),
        (["check", "toy", "--only", "other"], "toy has no check 'other'"),
        (["check", "gbsvr", "chf-hybrid", "--data", "x"], "--data is not the same for gbsvr and chf-hybrid"),
        (["check", "toy", "--lang", "de"], "--lang takes en or ja, got 'de'"),
        (["show", "nothing-like-it"], "there is no paper 'nothing-like-it'"),
        (["runs"], "there is no store at"),
        (["report", "last"], "there is no store at"),
        (["apply", "toy"], "tameshi apply toy needs --numbers TEXT"),
        (["apply", "kuda"], "kuda has nothing to apply yet"),
        (["results", "--from", "nowhere"], "nowhere is no folder of records"),
        (["runs", "import", "nothing.jsonl"], "nothing.jsonl is not an exported run"),
    ],
)
def test_every_wrong_input_is_one_sentence_and_nothing_is_written(home, args, said):
    assert said in one_sentence(tameshi(*args))
    assert not home.exists()


def test_the_help_of_a_check_lists_its_options_with_their_docstrings():
    told = tameshi("check", "toy", "--help").stdout
    assert "Adds a constant to random numbers." in told
    assert "--scales" in told
    assert "of the numbers. [1,2]" in told
    assert "--strict" in told


def test_check_prints_results_on_stdout_and_nothing_else_there(tmp_path):
    done = tameshi("check", "toy", "--json", "--output", str(tmp_path / "out"))
    (made,) = json.loads(done.stdout)
    assert {c: v["outcome"] for c, v in made["verdicts"].items()} == {"C1": "holds", "C2": "fails"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "result.json", "rows.jsonl"]
    assert json.loads((tmp_path / "out" / "result.json").read_text())["run"] == made["run"]
    assert len((tmp_path / "out" / "rows.jsonl").read_text().splitlines()) == 12
    assert "\x1b" not in done.stdout + done.stderr


def test_strict_exits_1_if_a_claim_fails():
    assert tameshi("check", "toy").returncode == 0
    assert tameshi("check", "toy", "--strict").returncode == 1


def test_rows_that_could_not_be_measured_are_said_and_exit_3():
    done = tameshi("check", "toy", "--trouble", "raise")
    assert done.returncode == 3
    assert "not measured: adding: nothing scale=2 seed 0: RuntimeError" in " ".join(done.stderr.split())


def test_a_run_goes_from_check_to_list_report_export_and_back(tmp_path):
    assert "成立" in tameshi("check", "toy", "--lang", "ja", "--limit", "9").stdout
    (run,) = json.loads(tameshi("runs", "--json").stdout)
    assert (run["status"], run["rows"], run["options"]["limit"]) == ("finished", 12, 9)
    assert tameshi("report", "last", "-o", str(tmp_path / "r.html"), "--lang", "ja").returncode == 0
    assert "テスト用のおもちゃの論文" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert tameshi("runs", "export", "last", "-o", str(tmp_path / "runs" / "toy.jsonl")).returncode == 0
    assert tameshi("runs", "rm", run["id"]).returncode == 0
    assert json.loads(tameshi("runs", "--json").stdout) == []
    assert run["id"] in tameshi("runs", "import", str(tmp_path / "runs" / "toy.jsonl")).stdout
    assert "the store is whole" in tameshi("runs", "check").stdout
    record = tmp_path / "records" / "toy.json"
    assert tameshi("runs", "export", "last", "--record", "-o", str(record)).returncode == 0
    table = tameshi("results", "--from", str(record.parent)).stdout
    assert "| C1 | Adding one makes numbers larger. | 1 |" in table
    assert "`--lang ja --limit 9`" in table, "what was asked for beyond the defaults"
    assert "holds" in tameshi("show", "toy").stdout
    record.write_text(record.read_text().replace('"outcome": "fails"', '"outcome": "holds"'))
    assert "was altered: its hash does not fit" in one_sentence(tameshi("results", "--from", str(record.parent)))


def test_apply_reads_its_signature_and_writes_through_the_door(tmp_path):
    done = tameshi("apply", "toy", "1,2", "--amount", "3", "-o", str(tmp_path / "sums"), "--json")
    assert json.loads(done.stdout) == {"1": 4.0, "2": 5.0}
    assert (tmp_path / "sums").read_text() == "4.0\n5.0"
    assert "Add a constant to numbers." in tameshi("apply", "toy", "--help").stdout


def started(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tameshi", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_rows(home: Path, count: int) -> None:
    import sqlite3

    for _ in range(400):
        if (home / "runs.sqlite").exists():
            try:
                with sqlite3.connect(f"file:{home / 'runs.sqlite'}?mode=ro", uri=True) as connection:
                    if connection.execute("SELECT coalesce(sum(row_count), 0) FROM runs").fetchone()[0] >= count:
                        return
            except sqlite3.OperationalError:  # being made just now
                time.sleep(0.01)
        time.sleep(0.02)
    raise AssertionError("no rows came")


@pytest.mark.parametrize("on", ["inline", "processes:2"])
def test_ctrl_c_once_finishes_the_measurement_says_what_is_stored_and_how_to_go_on(home, on):
    process = started("check", "toy", "--sleep", "0.3", "--on", on)
    wait_for_rows(home, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "finishing the measurement under way" in err
    assert "of 12 rows of toy-" in err
    assert "go on with: tameshi check toy --sleep 0.3" in err
    assert tameshi("check", "toy", "--sleep", "0.3", "--on", on).returncode == 0
    (run,) = json.loads(tameshi("runs", "--json").stdout)
    assert (run["status"], run["rows"]) == ("finished", 12)


def test_ctrl_c_twice_stops_at_once(home):
    process = started("check", "toy", "--sleep", "3", "--on", "inline")
    wait_for_rows(home, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped at once" in err
    assert time.monotonic() - began < 2.5  # the measurement under way would have taken three seconds
