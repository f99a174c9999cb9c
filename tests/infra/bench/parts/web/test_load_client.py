"""The load generator, on a server that only answers."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.bench.parts.web.load_client import Order, carry_out

#: What requests have sent as keys.
KEYS: list[str] = []


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, body: bytes) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        KEYS.append(self.headers.get("Authorization", ""))
        self._answer(401 if self.path == "/v1/jobs" else 200, b"{}")

    def do_POST(self) -> None:
        self._answer(404 if self.path == "/v1/jobs/gone/cancel" else 202, b'{"id": "one"}')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_submissions_last_as_long_as_ordered(port: int) -> None:
    load = carry_out(Order(kind="submit", host="127.0.0.1", port=port, seconds=0.2))
    assert load.elapsed_s >= 0.2
    assert load.ids == ["one"] * len(load.latencies_ms)
    assert load.ids
    assert not load.refused


def test_each_job_is_cancelled_once_and_refusals_are_told(port: int) -> None:
    load = carry_out(Order(kind="cancel", host="127.0.0.1", port=port, ids=["a", "b", "gone"]))
    assert len(load.latencies_ms) == 3
    assert load.refused == [404]


def test_a_wrong_key_is_another_one_each_time_and_a_right_one_the_same(port: int) -> None:
    KEYS.clear()
    wrong = carry_out(Order(kind="wrong_keys", host="127.0.0.1", port=port, seconds=0.2, connections=2))
    assert not wrong.refused
    assert len(set(KEYS)) == len(KEYS) == len(wrong.latencies_ms) > 1
    assert all(key.startswith("Bearer swk_") for key in KEYS)
    KEYS.clear()
    carry_out(Order(kind="read", host="127.0.0.1", port=port, seconds=0.1, ids=["a"], key="swk_mine"))
    assert set(KEYS) == {"Bearer swk_mine"}
