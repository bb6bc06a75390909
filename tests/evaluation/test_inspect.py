"""Every task of the wing from outside: found by its name, on every kind of provider, with a log that opens."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval, eval_async
from inspect_ai._util.registry import registry_find, registry_info
from inspect_ai.log import read_eval_log
from inspect_ai.model import get_model

import tameshi
import tameshi.evaluation._registry
from tameshi.evaluation.asking import wait
from tameshi.evaluation.messages import Answer, user
from tameshi.specimens.endpoint import Endpoint
from tests.evaluation.small import small_tasks
from tests.evaluation.tiny import save_tiny_chat

SOURCE = Path(tameshi.__file__).parents[1]
ENTRY = "[inspect_ai]\ntameshi = tameshi.evaluation._registry\n"
TASKS = small_tasks()


def run(command: list[str], place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of Inspect's own, offline, with our package installed as far as its entry points go."""
    installed = place / "tameshi-0.1.0.dist-info"
    installed.mkdir(exist_ok=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tameshi\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text(ENTRY)
    (installed / "direct_url.json").write_text('{"url": "file:///tameshi", "dir_info": {"editable": true}}')
    paths = os.pathsep.join([str(SOURCE), str(place)])
    settings = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "INSPECT_DISPLAY": "plain", **environment}
    return subprocess.run(
        [sys.executable, "-m", "inspect_ai", *command],
        cwd=place,
        env=settings,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_entry_point_stands_in_the_package(tmp_path: Path) -> None:
    import tomllib

    written = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())
    assert written["project"]["entry-points"]["inspect_ai"] == {"tameshi": "tameshi.evaluation._registry"}


def test_every_task_says_how_it_is_run_small() -> None:
    ours = [registry_info(found).name for found in registry_find(lambda info: info.type == "task")]
    assert {name.removeprefix("tameshi/") for name in ours if name.startswith("tameshi/")} == set(TASKS)


def test_inspect_finds_every_task_by_name_and_a_log_opens(tmp_path: Path) -> None:
    named = [f"tameshi/{name}" for name in TASKS]
    models = ["--model", "tameshi/eroding-vault", "--model-role", "grader=tameshi/silent"]
    done = run(["eval", *named, *models, "--limit", "1", "--epochs", "1", "--log-dir", "logs"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    logs = sorted((tmp_path / "logs").iterdir())
    assert {read_eval_log(str(log), header_only=True).status for log in logs} == {"success"}
    assert len(logs) == len(TASKS)
    dumped = run(["log", "dump", str(logs[0])], tmp_path)
    assert json.loads(dumped.stdout)["status"] == "success", dumped.stderr


@pytest.mark.parametrize("name", TASKS)
def test_a_task_runs_on_a_model_folder_by_both_providers(name: str, tiny_chat: Path, tmp_path: Path) -> None:
    folder = str(tiny_chat)
    mine = get_model("tameshi/folder", folder=folder, memoize=False)
    theirs = get_model("hf/local", model_path=folder, device="cpu", memoize=False)
    for model in (mine, theirs):
        (log,) = eval(
            f"tameshi/{name}",
            task_args=TASKS[name],
            model=model,
            model_roles={"grader": mine, "tester": mine},
            log_dir=str(tmp_path),
            max_tokens=8,
            log_realtime=False,
        )
        assert_ran(log)


def assert_ran(log: Any) -> None:
    """Every sample has a score or says why not."""
    assert log.samples
    assert all(sample.scores and not sample.error for sample in log.samples), log.error
    assert log.status == "success", log.error


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """transformers' own OpenAI-compatible server on loopback, with the tiny model: its base URL and the model's name."""
    folder = save_tiny_chat(tmp_path_factory.mktemp("served"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "serve",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("transformers")), *command],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(240):
            assert process.poll() is None, "the server ended before it was ready"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        else:
            raise AssertionError("the server was not ready after two minutes")
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.parametrize("name", TASKS)
def test_a_real_server_answers_every_task(
    name: str, server: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base_url, served = server
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    model = get_model(f"openai/{served}", base_url=base_url, responses_api=False, memoize=False)

    async def evaluate() -> Any:
        (log,) = await eval_async(
            f"tameshi/{name}",
            task_args=TASKS[name],
            model=model,
            model_roles={"grader": model, "tester": model},
            log_dir=str(tmp_path),
            max_tokens=8,
            log_realtime=False,
        )
        await model.api.aclose()
        return log

    log = wait(evaluate())
    assert_ran(log)
    assert "not-a-key" not in log.model_dump_json()


def test_checks_and_applications_ask_a_real_server_too(
    server: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base_url, served = server
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    endpoint = Endpoint.open(f"openai/{served}")
    assert endpoint.local
    asker = endpoint.asker(max_tokens=8, attempts=1)
    first, *others = [wait(asker([user("hello")])) for _ in range(3)]  # three times `wait`: one client, one loop
    assert isinstance(first, Answer), first
    assert all(isinstance(answer, Answer) for answer in others)
    wait(endpoint.model.api.aclose())
