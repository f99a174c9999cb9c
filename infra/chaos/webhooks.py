"""A receiver of the fleet's webhooks during a run: every end of a job must come, signed, and with one id."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from standardwebhooks import Webhook, WebhookVerificationError

from infra.chaos.leftovers import wait_until
from infra.chaos.target import ANSWER_S

#: Of the fleet: a delivery whose dispatcher was killed rests for four of these.
TIMEOUT_S = 5.0
#: Limit after the end of all jobs until every end was told.
DELIVERED_S = 120.0
HOST = "127.0.0.1"


class WebhookReceiver:
    """Keeps which events have come, by job and event, with the ids they had."""

    def __init__(self) -> None:
        self._secret: Webhook | None = None
        self._lock = threading.Lock()
        self.ids: dict[tuple[str, str], Counter[str]] = {}
        self.unsigned = 0

    def subscribe(self, api_url: str, port: int) -> None:
        """Have the fleet send the ends of all jobs to ``port`` of this machine."""
        body = {"url": f"http://{HOST}:{port}/"}
        answer = requests.post(f"{api_url}/v1/webhooks", json=body, timeout=ANSWER_S)
        answer.raise_for_status()
        self._secret = Webhook(answer.json()["secret"])

    def receive(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Note a request."""
        try:
            assert self._secret is not None, "nothing is sent before the subscription"
            event: Any = self._secret.verify(body, dict(headers))
        except (WebhookVerificationError, ValueError):
            with self._lock:
                self.unsigned += 1
            return
        ids = {name.lower(): value for name, value in headers.items()}
        with self._lock:
            known = self.ids.setdefault((event["data"]["id"], event["type"]), Counter())
            known[ids["webhook-id"]] += 1

    @property
    def received(self) -> int:
        """Signed requests, repeats included."""
        with self._lock:
            return sum(known.total() for known in self.ids.values())

    def violations(self, statuses: Mapping[str, str]) -> list[str]:
        """What is wrong with what has come for jobs of these statuses; waits for what is on its way."""
        wait_until(lambda: not self._missing(statuses), DELIVERED_S)
        missing = [f"no webhook told that job {job_id} {event}" for job_id, event in self._missing(statuses)]
        several = [
            f"{event} of job {job_id} came with the ids {sorted(known)}"
            for (job_id, event), known in self.ids.items()
            if len(known) > 1
        ]
        unsigned = [f"{self.unsigned} webhooks had no valid signature"] if self.unsigned else []
        return [*missing, *several, *unsigned]

    def _missing(self, statuses: Mapping[str, str]) -> list[tuple[str, str]]:
        with self._lock:
            wanted = [(job_id, f"job.{status}") for job_id, status in statuses.items()]
            return [one for one in wanted if one not in self.ids]


@contextmanager
def receiving_webhooks(api_url: str) -> Iterator[WebhookReceiver]:
    """A receiver to which the fleet sends the ends of its jobs until the end of the block."""
    receiver = WebhookReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take a webhook."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.receive(body, dict(self.headers.items()))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            receiver.subscribe(api_url, server.server_port)
            yield receiver
        finally:
            server.shutdown()
            thread.join()
