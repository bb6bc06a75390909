from __future__ import annotations

import math
import multiprocessing
import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tameshi.bench.store import FORMAT, Store, StoreError
from tameshi.nouns import Items, Missing, Row

FACTS = {"command": ["tameshi"], "subjects": {}}


def row(method: str = "m", seed: int = 0, **values: object) -> Row:
    return Row("c", method, {"cap": 64}, seed, values=values or {"v": Items([1.0, 2.0])})


def test_a_row_comes_back_as_it_went_in():
    made = row(v=Items([1.0, Missing("no label"), math.inf], ids=["a", "b", "c"], groups=["x", "x", "y"]), w=0.5)
    with Store() as store:
        run = store.begin("toy", "id", FACTS)
        store.commit(run.id, made)
        (back,) = store.rows(run.id)
    assert back == made


def test_the_same_work_committed_twice_is_one_row():
    with Store() as store:
        run = store.begin("toy", "id", FACTS)
        assert store.commit(run.id, row())
        assert not store.commit(run.id, replace(row(), values={"v": 9.0}))
        assert store.run(run.id).row_count == 1
        assert store.rows(run.id)[0].values == row().values


def test_an_error_row_gives_way_to_a_good_one_and_never_the_other_way():
    failed = replace(row(), values={}, error="lost")
    with Store() as store:
        run = store.begin("toy", "id", FACTS)
        store.commit(run.id, failed)
        assert store.run(run.id).error_count == 1
        assert store.done(run.id) == frozenset()
        assert store.commit(run.id, row())
        assert not store.commit(run.id, failed)
        assert store.run(run.id).error_count == 0
        assert store.done(run.id) == {row().key}
        assert store.troubles() == []


def test_means_are_those_of_the_rows_without_missing_values():
    with Store() as store:
        run = store.begin("toy", "id", FACTS)
        store.commit(run.id, row(seed=0, v=Items([1.0, 2.0, Missing("?")])))
        store.commit(run.id, row(seed=1, v=Items([6.0])))
        (mean,) = store.means(run.id)
        assert (mean.mean, mean.n, mean.missing, mean.rows) == (3.0, 3, 1, 2)
        assert mean.mean == store.rows(run.id).mean("v")
        assert len(store.rows(run.id, most=1)) == 1


def test_a_run_is_found_by_the_beginning_of_its_id():
    with Store() as store:
        one = store.begin("toy", "id", FACTS)
        assert store.run("toy-").id == store.run("last").id == one.id
        store.begin("toy", "id", FACTS)
        with pytest.raises(ValueError, match="several runs begin with 'toy-'"):
            store.run("toy-")
        with pytest.raises(ValueError, match="there is no run 'nothing'"):
            store.run("nothing")


def test_removing_a_run_removes_its_rows_and_no_other():
    with Store() as store:
        runs = [store.begin("toy", "id", FACTS) for _ in range(2)]
        for run in runs:
            store.commit(run.id, row())
        store.remove(runs[0].id)
        assert [r.id for r in store.runs()] == [runs[1].id]
        assert len(store.rows(runs[1].id)) == 1
        assert store.troubles() == []


@pytest.mark.parametrize(("version", "age"), [(FORMAT + 1, "a newer"), (FORMAT - 1, "an older")])
def test_a_store_of_another_format_is_refused_and_not_altered(home, version, age):
    Store().close()
    file = home / "runs.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match=f"written by {age} tameshi"):
        Store()
    assert file.read_bytes() == before


def test_another_programs_database_is_refused_and_not_altered(home):
    home.mkdir()
    file = home / "runs.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match="a database of another program"):
        Store()
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_one_sentence(home):
    home.mkdir()
    (home / "runs.sqlite").write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(StoreError, match=r"runs\.sqlite cannot be used: file is not a database"):
        Store()


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TAMESHI_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(StoreError, match=r"file/home/runs\.sqlite cannot be used: Not a directory"):
        Store()


def test_a_read_only_store_is_one_sentence_and_not_altered(home, monkeypatch):
    with Store() as store:
        store.begin("toy", "id", FACTS)
    file = home / "runs.sqlite"
    file.chmod(stat.S_IRUSR)
    home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        if os.geteuid() == 0:  # root may write anywhere; ask SQLite to be as strict as for anybody else
            connect = sqlite3.connect
            monkeypatch.setattr(sqlite3, "connect", lambda path, **k: connect(f"file:{path}?mode=ro", uri=True, **k))
        with pytest.raises(StoreError, match="cannot be used"), Store() as store:
            store.begin("toy", "id", FACTS)
    finally:
        home.chmod(stat.S_IRWXU)


def test_there_is_no_store_before_the_first_check():
    with pytest.raises(StoreError, match=r"there is no store at .* yet"):
        Store(make=False)


class Full(sqlite3.Connection):
    """A connection on a disk that fills up at the n-th statement that writes."""

    left = 1_000_000

    def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
        if sql.split()[0] in {"INSERT", "UPDATE", "DELETE", "COMMIT"}:
            Full.left -= 1
            if Full.left < 0:
                raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *args)


@pytest.mark.parametrize("site", range(5))
def test_a_disk_that_fills_at_any_write_loses_no_row_and_says_path_and_bytes(monkeypatch, site):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **k: connect(path, factory=Full, **k))
    monkeypatch.setattr(Full, "left", 1_000_000)
    with Store() as store:
        run = store.begin("toy", "id", FACTS)
        store.commit(run.id, row(seed=0))
        monkeypatch.setattr(Full, "left", site)
        if site < 4:
            with pytest.raises(
                StoreError, match=r"runs\.sqlite cannot be used while writing \d+ bytes: database or disk is full"
            ):
                store.commit(run.id, row(method="other", seed=1))
        else:
            store.commit(run.id, row(method="other", seed=1))
        monkeypatch.setattr(Full, "left", 1_000_000)
        assert store.troubles() == []
        store.commit(run.id, row(method="other", seed=1))
        assert store.run(run.id).row_count == 2


def _write_many(home: str, run: str, worker: int, count: int) -> None:
    os.environ["TAMESHI_HOME"] = home
    with Store() as store:
        for seed in range(count):
            store.commit(run, row(method=f"worker {worker}", seed=seed))


def test_four_processes_write_one_store_and_no_row_is_lost(home):
    with Store() as store:
        run = store.begin("toy", "id", FACTS)
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_write_many, args=(str(home), run.id, w, 250)) for w in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0] * 4
        assert store.run(run.id).row_count == len(store.rows(run.id)) == 1000
        assert store.troubles() == []


def test_a_cut_or_altered_export_is_refused_whole(tmp_path):
    from tameshi.bench.exchange import NotARun, export_run, import_run, read_run

    with Store() as store:
        run = store.begin("toy", "id", FACTS)
        store.commit(run.id, row())
        store.commit(run.id, row(seed=1))
        store.finish(run.id, {})
        file = export_run(store, run.id, tmp_path / "run.jsonl")
        assert list(read_run(file).rows) == list(store.rows(run.id))
        with pytest.raises(ValueError, match=r"is in .* already"):
            import_run(store, file)
        store.remove(run.id)
        content = file.read_text()
        for broken in (
            content[:-5],
            content.replace("64", "65"),
            content.replace("tameshi run 1", "tameshi run 2"),
            "",
            "{}",
            "[]",
        ):
            Path(file).write_text(broken)
            with pytest.raises(NotARun):
                import_run(store, file)
            assert store.runs() == []
        Path(file).write_text(content)
        assert import_run(store, file) == run.id
        assert store.run(run.id).row_count == 2
