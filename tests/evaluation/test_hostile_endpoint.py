"""A hostile endpoint over HTTP on loopback: what the provider's client makes of it, the ledger must have seen."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tameshi.evaluation.accounting import Ledger
from tameshi.evaluation.asking import wait
from tameshi.evaluation.messages import Answer, Unanswered, user
from tameshi.specimens.endpoint import Endpoint

SECRET = "walnut-walnut-walnut"


def completion(text: str) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    held = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(held).encode()


class Hostile(http.server.BaseHTTPRequestHandler):
    """Fails in the ways that its server was told, one after another, and then answers."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        way = self.server.ways.pop(0) if self.server.ways else "answer"
        body = completion("" if way == "empty" else "here I am")
        if way == "hang":
            time.sleep(1.5)
        if way.isdigit():
            body = json.dumps({"error": {"message": f"your key {SECRET} is no good"}}).encode()
        if way == "nonsense":
            body = b"<html>not what you asked for</html>"
        self.send_response(int(way) if way.isdigit() else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if way == "half" else body)
        if way == "half":
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hostile)
        self.ways: list[str] = []
        self.asked = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what the test is about."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    served = Server()
    threading.Thread(target=served.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{served.server_port}/v1")
    yield served
    served.shutdown()
    served.server_close()


def ask(server: Server, *ways: str, attempts: int = 3, **settings: Any) -> tuple[Answer | Unanswered, Ledger]:
    server.ways, server.asked = list(ways), 0
    ledger = Ledger(settings.pop("max_calls", None))
    endpoint = Endpoint.open("openai/some-model")
    asker = endpoint.asker(ledger=ledger, attempts=attempts, pause=0, **{"timeout": 20, **settings})
    answer = wait(asker([user("hello")]))
    wait(endpoint.model.api.aclose())
    assert server.asked == ledger.calls.total()  # no client behind us tries again unseen
    return answer, ledger


@pytest.mark.parametrize("way", ["429", "500", "503", "half", "empty", "nonsense"])
def test_what_may_pass_is_asked_again_and_every_call_is_counted(way: str, server: Server) -> None:
    answer, ledger = ask(server, way)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.tokens) == ("here I am", 5)
    assert ledger.calls.total() == 2


def test_a_hanging_endpoint_is_left_after_its_time(server: Server) -> None:
    answer, ledger = ask(server, "hang", "hang", attempts=2, timeout=0.3)
    assert answer == Unanswered("no answer within 0.3 seconds")
    assert ledger.calls.total() == 2


def test_an_endpoint_that_goes_on_failing_gives_a_reason_without_its_own_words(server: Server) -> None:
    answer, ledger = ask(server, *["500"] * 9)
    assert answer == Unanswered("the endpoint answered with HTTP status 500")
    assert ledger.calls.total() == 3
    assert SECRET not in f"{answer} {ledger} {dict(ledger.unanswered)}"


def test_a_key_that_is_refused_is_not_tried_again(server: Server) -> None:
    answer, ledger = ask(server, *["401"] * 9)
    assert answer == Unanswered("the endpoint answered with HTTP status 401")
    assert ledger.calls.total() == 1


def test_the_budget_holds_against_an_endpoint_that_fails(server: Server) -> None:
    answer, ledger = ask(server, *["429"] * 9, attempts=9, max_calls=4)
    assert isinstance(answer, Unanswered)
    assert ledger.calls.total() == 4
