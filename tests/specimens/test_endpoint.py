from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.evaluation.tiny import save_tiny_chat

from tameshi.doors.models import Untrusted
from tameshi.evaluation.asking import wait
from tameshi.evaluation.messages import Answer, user
from tameshi.specimens.endpoint import Endpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_chat(tmp_path_factory.mktemp("chat"))


def test_a_rule_is_an_endpoint_under_both_names() -> None:
    first, second = Endpoint.open("specimen:always-yes"), Endpoint.open("tameshi/always-yes")
    assert (first.name, first.local) == ("always-yes", True)
    assert first.fingerprint == second.fingerprint
    answer = wait(first.asker()([user("Is iron heavier than gold?")]))
    assert isinstance(answer, Answer)
    assert answer.text.endswith("YES")


def test_a_folder_is_an_endpoint_and_its_fingerprint_follows_its_content(folder: Path) -> None:
    plain, named = Endpoint.open(str(folder)), Endpoint.open(f"hf/{folder}")
    assert plain.local
    assert plain.fingerprint == named.fingerprint
    assert isinstance(wait(plain.asker(max_tokens=3)([user("hello")])), Answer)
    config = folder / "config.json"
    written = config.read_text()
    config.write_text(json.dumps(json.loads(written) | {"note": "changed"}))
    assert Endpoint.open(str(folder)).fingerprint != plain.fingerprint
    config.write_text(written)


def test_a_name_that_inspect_knows_is_an_endpoint_and_nothing_is_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    remote = Endpoint.open("openai/gpt-4o-mini")
    assert not remote.local
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    near = Endpoint.open("openai/gpt-4o-mini")
    assert near.local
    assert near.fingerprint != remote.fingerprint


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("specimen:nobody", "there is no rule called 'nobody'; there are .*always-yes"),
        ("nobody/gpt", "is no model folder, no specimen and no name that Inspect AI knows"),
        ("gpt", "is no model folder"),
        ("./not-here", "does not exist"),
    ],
)
def test_an_address_that_names_nothing_is_refused_in_one_sentence(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Endpoint.open(address)


def test_a_pickled_model_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(Untrusted, match="pickle"):
        Endpoint.open(str(tmp_path))
