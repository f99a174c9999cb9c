"""What the receiver of a chaos run counts as a violation."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import pytest
import requests

from infra.chaos.webhooks import HOST, WebhookReceiver, draw, receiving_webhooks
from shared.keys import LOCAL
from shared.webhooks.endpoint import new_secret
from workers.webhooks.signatures import sign

SECRET = new_secret()
#: What is sent to an API that asks for no keys, by the tenant that its jobs are of.
OPEN: dict[str, dict[str, str]] = {LOCAL: {}}


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


def send(url: str, body: str, message_id: str, secret: str = SECRET, timeout_s: float = 30) -> str:
    """How a webhook was answered."""
    headers = sign([secret], message_id, time.time(), body)
    try:
        return str(requests.post(url, data=body, headers=headers, timeout=timeout_s).status_code)
    except requests.ReadTimeout:
        return "hung"
    except requests.ConnectionError:
        return "closed"


def seed_of(*answers: str) -> int:
    """A seed that has the first messages answered so."""
    for seed in range(10_000):
        rng = Random(seed)
        if [draw(rng) for _ in answers] == [*answers]:
            return seed
    raise AssertionError(f"no seed has {answers}")


def test_a_run_whose_jobs_were_all_told_has_no_violation(api: tuple[str, list[str]]) -> None:
    api_url, urls = api
    with receiving_webhooks(api_url, seed_of("204", "204"), OPEN) as receiver:
        answers = [send(urls[0], payload(job_id), f"msg_{job_id}_succeeded") for job_id in ("a", "b", "a")]
        assert answers == ["204"] * 3
        assert receiver.counts() == (3, 1, {"204": 3})
        assert receiver.violations({"a": "succeeded", "b": "succeeded"}) == []


def test_first_requests_fail_as_the_seed_says_and_repeats_are_taken(api: tuple[str, list[str]]) -> None:
    api_url, urls = api
    ways = ["500", "closed", "204", "hung"]
    with receiving_webhooks(api_url, seed_of(*ways), OPEN) as receiver:
        # Shorter than a request hangs; any other one is waited for
        limits_s = {"hung": 3}
        first = [send(urls[0], payload(way), f"msg_{way}", timeout_s=limits_s.get(way, 30)) for way in ways]
        assert first == ways
        again = [send(urls[0], payload(way), f"msg_{way}") for way in ways]
        assert again == ["204"] * 4
        assert receiver.counts() == (8, 4, {"204": 5, "500": 1, "closed": 1, "hung": 1})
        assert receiver.violations(dict.fromkeys(ways, "succeeded")) == []


def test_an_end_that_was_only_refused_was_not_told(
    api: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import infra.chaos.webhooks as module

    monkeypatch.setattr(module, "DELIVERED_S", 0)
    api_url, urls = api
    with receiving_webhooks(api_url, seed_of("500"), OPEN) as receiver:
        assert send(urls[0], payload("a"), "msg_a") == "500"
        assert receiver.violations({"a": "succeeded"}) == ["no webhook told that job a job.succeeded"]


def test_repeats_with_another_id_and_wrong_signatures_are_violations(api: tuple[str, list[str]]) -> None:
    api_url, urls = api
    with receiving_webhooks(api_url, seed_of("204"), OPEN) as receiver:
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
    assert WebhookReceiver(1).violations({"a": "failed"}) == ["no webhook told that job a job.failed"]
