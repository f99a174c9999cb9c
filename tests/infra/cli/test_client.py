"""The client against a server that answers what it is told to."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.cli.client import Api, ApiFailed

PROBLEM = b'{"code": "invalid_request", "detail": "unknown model", "field": "model"}'
#: Status and body of the answer at each path; a stream of events is cut off after what is here.
ANSWERS: dict[str, tuple[int, bytes]] = {
    "/v1/jobs": (422, PROBLEM),
    "/page": (200, b"<html>"),
    "/missing": (404, b"<html>"),
    "/events": (200, b'id: 1-0\nevent: status\ndata: {"status": "running"}\n\n: still here\n\n'),
    "/events after 1-0": (200, b'id: 2-0\nevent: done\ndata: {"status": "succeeded"}\n\n'),
}


class Scripted(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        last = self.headers.get("Last-Event-ID")
        status, body = ANSWERS[f"{self.path} after {last}" if last else self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def api() -> Iterator[Api]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Api(f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
        thread.join()


def test_a_refusal_is_one_sentence_with_its_field(api: Api) -> None:
    with pytest.raises(ApiFailed, match=r"^422 invalid_request: model: unknown model$"):
        api.submit({})


@pytest.mark.parametrize("path", ["/page", "/missing"])
def test_what_is_no_fleet_is_told_apart(path: str, api: Api) -> None:
    with pytest.raises(ApiFailed, match="is it a fleet's API"):
        api.read(path)


def test_a_stream_that_breaks_off_is_resumed_after_its_last_event(api: Api) -> None:
    assert [(kind, data["status"]) for kind, data in api.events("/events")] == [
        ("status", "running"),
        ("done", "succeeded"),
    ]


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ApiFailed, match=r"^http://127.0.0.1:9 does not answer"):
        Api("http://127.0.0.1:9").read("/v1/models")
