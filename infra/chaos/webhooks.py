"""A receiver of the fleet's webhooks during a run: every end of a job must come, signed, and with one id.

It fails some requests, so that deliveries are retried while dispatchers are killed.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, Literal, NamedTuple

import requests
from standardwebhooks import Webhook, WebhookVerificationError

from infra.chaos.leftovers import wait_until
from infra.chaos.target import ANSWER_S

#: Of the fleet: a delivery whose dispatcher was killed rests for four of these.
TIMEOUT_S = 5.0
#: How long a request hangs that is not answered at all.
HANG_S = 2 * TIMEOUT_S
#: Limit after the end of all jobs until every end was told: a second retry comes after five to six minutes,
#: which is that of a delivery whose dispatcher was stopped during the first.
DELIVERED_S = 420.0
HOST = "127.0.0.1"

Answer = Literal["204", "500", "hung", "closed"]
#: How the first request of a message is answered, with the relative frequency; all others are taken.
ANSWERS: dict[Answer, int] = {"204": 14, "500": 2, "hung": 2, "closed": 2}


class WebhookCounts(NamedTuple):
    """Signed requests: how many came, how many of an id that had come before, and how they were answered."""

    received: int
    repeats: int
    answers: Mapping[Answer, int]


class WebhookReceiver:
    """Keeps which events have come, by job and event, with the ids they had.

    ``seed`` decides how the first, the second … message is answered, in the order in which they come.
    """

    def __init__(self, seed: int) -> None:
        self._secret: Webhook | None = None
        self._lock = threading.Lock()
        self._rng = Random(seed)
        self._answers: Counter[Answer] = Counter()
        self._taken: set[tuple[str, str]] = set()
        self.ids: dict[tuple[str, str], Counter[str]] = {}
        self.unsigned = 0
        self.stopping = threading.Event()

    def subscribe(self, api_url: str, port: int) -> None:
        """Have the fleet send the ends of all jobs to ``port`` of this machine."""
        body = {"url": f"http://{HOST}:{port}/"}
        answer = requests.post(f"{api_url}/v1/webhooks", json=body, timeout=ANSWER_S)
        answer.raise_for_status()
        self._secret = Webhook(answer.json()["secret"])

    def receive(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Note a request; returns how it is to be answered."""
        try:
            assert self._secret is not None, "nothing is sent before the subscription"
            event: Any = self._secret.verify(body, dict(headers))
        except (WebhookVerificationError, ValueError):
            with self._lock:
                self.unsigned += 1
            return "204"
        names = {name.lower(): value for name, value in headers.items()}
        what = (event["data"]["id"], event["type"])
        with self._lock:
            known = self.ids.setdefault(what, Counter())
            is_first = not known
            known[names["webhook-id"]] += 1
            answer: Answer = draw(self._rng) if is_first else "204"
            if answer == "204":
                self._taken.add(what)
            self._answers[answer] += 1
        return answer

    def counts(self) -> WebhookCounts:
        """What has come until now."""
        with self._lock:
            received = sum(known.total() for known in self.ids.values())
            different = sum(len(known) for known in self.ids.values())
            return WebhookCounts(received, received - different, Counter(self._answers))

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
        """Ends of jobs of which no request was answered with 204."""
        with self._lock:
            wanted = [(job_id, f"job.{status}") for job_id, status in statuses.items()]
            return [one for one in wanted if one not in self._taken]


def draw(rng: Random) -> Answer:
    """How the first request of a message is answered."""
    return rng.choices([*ANSWERS], [*ANSWERS.values()])[0]


@contextmanager
def receiving_webhooks(api_url: str, seed: int) -> Iterator[WebhookReceiver]:
    """A receiver to which the fleet sends the ends of its jobs until the end of the block."""
    receiver = WebhookReceiver(seed)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take a webhook, or fail it."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = receiver.receive(body, dict(self.headers.items()))
            if answer == "hung":
                receiver.stopping.wait(HANG_S)
            if answer in ("hung", "closed"):
                self.close_connection = True
                return
            self.send_response(int(answer))
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
            receiver.stopping.set()
            server.shutdown()
            thread.join()
