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
        self._secrets: dict[str, Webhook] = {}  # by tenant
        self._lock = threading.Lock()
        self._rng = Random(seed)
        self._answers: Counter[Answer] = Counter()
        self._taken: set[tuple[str, str]] = set()
        self.ids: dict[tuple[str, str], Counter[str]] = {}
        self.tenants: dict[str, set[str]] = {}  # to which the webhooks of a job have come
        self.unsigned = 0
        self.stopping = threading.Event()

    def subscribe(self, api_url: str, port: int, tenant: str, headers: Mapping[str, str]) -> None:
        """Have the fleet send the ends of a tenant's jobs to ``port`` of this machine."""
        body = {"url": f"http://{HOST}:{port}/{tenant}"}
        url = f"{api_url}/v1/webhooks"
        answer = requests.post(url, json=body, headers=dict(headers), timeout=ANSWER_S)
        answer.raise_for_status()
        self.expect(tenant, answer.json()["secret"])

    def expect(self, tenant: str, secret: str) -> None:
        """Take requests to a tenant that are signed by this secret."""
        self._secrets[tenant] = Webhook(secret)

    def receive(self, tenant: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Note a request to a tenant, which has a secret of its own; returns how it is to be answered."""
        try:
            event: Any = self._secrets[tenant].verify(body, dict(headers))
        except (WebhookVerificationError, ValueError, KeyError):
            with self._lock:
                self.unsigned += 1
            return "204"
        names = {name.lower(): value for name, value in headers.items()}
        what = (event["data"]["id"], event["type"])
        with self._lock:
            self.tenants.setdefault(what[0], set()).add(tenant)
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
def receiving_webhooks(
    api_url: str, seed: int, tenants: Mapping[str, Mapping[str, str]]
) -> Iterator[WebhookReceiver]:
    """A receiver to which the fleet sends the ends of its jobs until the end of the block.

    ``tenants``: the headers of a request of each, by their ids.
    """
    receiver = WebhookReceiver(seed)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take a webhook, or fail it."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = receiver.receive(self.path.removeprefix("/"), body, dict(self.headers.items()))
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
            for tenant, headers in tenants.items():
                receiver.subscribe(api_url, server.server_port, tenant, headers)
            yield receiver
        finally:
            receiver.stopping.set()
            server.shutdown()
            thread.join()
