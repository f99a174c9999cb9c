"""What the receiver of a chaos run counts as a violation."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from infra.chaos.webhooks import HOST, WebhookReceiver, receiving_webhooks
from shared.webhooks.endpoint import new_secret
from workers.webhooks.signatures import sign

SECRET = new_secret()


@pytest.fixture
def api() -> Iterator[tuple[str, list[str]]]:
    """An API that knows one call, and the URLs that were given to it."""
    urls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            urls.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["url"])
            self.send_response(201)
            self.end_headers()
            self.wfile.write(json.dumps({"secret": SECRET}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}", urls
        server.shutdown()
        thread.join()


def payload(job_id: str, event: str = "job.succeeded") -> str:
    return json.dumps({"type": event, "data": {"id": job_id}})


def send(url: str, body: str, message_id: str, secret: str = SECRET) -> None:
    headers = sign([secret], message_id, time.time(), body)
    assert requests.post(url, data=body, headers=headers, timeout=30).status_code == 204


def test_a_run_whose_jobs_were_all_told_has_no_violation(api: tuple[str, list[str]]) -> None:
    api_url, urls = api
    with receiving_webhooks(api_url) as receiver:
        for job_id in ("a", "b", "a"):
            send(urls[0], payload(job_id), f"msg_{job_id}_succeeded")
        assert receiver.received == 3
        assert receiver.violations({"a": "succeeded", "b": "succeeded"}) == []


def test_repeats_with_another_id_and_wrong_signatures_are_violations(api: tuple[str, list[str]]) -> None:
    api_url, urls = api
    with receiving_webhooks(api_url) as receiver:
        send(urls[0], payload("a"), "msg_1")
        send(urls[0], payload("a"), "msg_2")
        send(urls[0], payload("a"), "msg_1", new_secret())
        found = receiver.violations({"a": "succeeded"})
    assert found == [
        "job.succeeded of job a came with the ids ['msg_1', 'msg_2']",
        "1 webhooks had no valid signature",
    ]


def test_an_end_that_nobody_told_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    import infra.chaos.webhooks as module

    monkeypatch.setattr(module, "DELIVERED_S", 0)
    assert WebhookReceiver().violations({"a": "failed"}) == ["no webhook told that job a job.failed"]
