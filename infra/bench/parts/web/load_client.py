"""Load on the API, from a process of its own: connections that are kept and never pause.

``python -m infra.bench.parts.web.load_client`` reads an `Order` from standard input and answers with a
`Load`.
"""

import http.client
import itertools
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel

from shared.tenants.api_key import ApiKey

CONNECTIONS = 4
ANSWER_S = 60.0
Kind = Literal["submit", "read", "cancel", "wrong_keys"]
#: How a kind of request is made, and what answers it as meant.
METHODS: dict[Kind, str] = {"submit": "POST", "read": "GET", "cancel": "POST", "wrong_keys": "GET"}
EXPECTED: dict[Kind, set[int]] = {
    "submit": {202},
    "read": {200},
    "cancel": {200, 202},
    "wrong_keys": {401, 429},
}


class Order(BaseModel):
    """What to do: submit jobs, read the jobs ``ids`` in turn for ``seconds``, cancel each once, or ask with a
    new wrong API key each time.
    """

    kind: Kind
    host: str
    port: int
    seconds: float = ANSWER_S
    ids: list[str] = []
    loras: list[str] = []  # that every submitted job wants
    key: str = ""  # API key of every request
    connections: int = CONNECTIONS
    from_many: bool = False  # each request says, as a proxy would, that it is from another address


class Load(BaseModel):
    """What came of it: the latency of every request that was answered, ids of submitted jobs."""

    elapsed_s: float
    latencies_ms: list[float] = []
    ids: list[str] = []
    refused: list[int] = []  # statuses that were not meant


def put_load_on(order: Order) -> Load:
    """Carry out ``order`` in another process, and wait for it."""
    words = [sys.executable, "-m", "infra.bench.parts.web.load_client"]
    answer = subprocess.run(
        words, input=order.model_dump_json(), stdout=subprocess.PIPE, text=True, check=True
    )
    return Load.model_validate_json(answer.stdout)


def carry_out(order: Order) -> Load:
    """Send requests over some connections, each waiting for its answer before the next."""
    load = Load(elapsed_s=0)
    requests, lock = _requests(order), threading.Lock()
    began = time.perf_counter()

    def connection() -> None:
        link = http.client.HTTPConnection(order.host, order.port, timeout=ANSWER_S)
        while time.perf_counter() - began < order.seconds:
            with lock:
                request = next(requests, None)
            if request is None:
                break
            path, body = request
            sent = time.perf_counter()
            link.request(METHODS[order.kind], path, body, _headers(order))
            answer = link.getresponse()
            content = answer.read()
            load.latencies_ms.append(round(1e3 * (time.perf_counter() - sent), 3))
            if answer.status not in EXPECTED[order.kind]:
                load.refused.append(answer.status)
            elif order.kind == "submit":
                load.ids.append(json.loads(content)["id"])
        link.close()

    threads = [threading.Thread(target=connection) for _ in range(order.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.elapsed_s = time.perf_counter() - began
    return load


def _headers(order: Order) -> dict[str, str]:
    key = str(ApiKey.random()) if order.kind == "wrong_keys" else order.key
    found = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    return found | ({"X-Forwarded-For": f"2001:db8:{secrets.randbits(16):x}::1"} if order.from_many else {})


def _requests(order: Order) -> Iterator[tuple[str, str | None]]:
    """Path and body of each request."""
    if order.kind == "submit":
        job = {"prompt": "a penguin on a teal background", "loras": [{"name": name} for name in order.loras]}
        for seed in itertools.count():
            yield "/v1/jobs", json.dumps({**job, "seed": seed})
    if order.kind == "wrong_keys":
        yield from itertools.repeat(("/v1/jobs", None))
    for job_id in itertools.cycle(order.ids) if order.kind == "read" else order.ids:
        yield f"/v1/jobs/{job_id}" + ("/cancel" if order.kind == "cancel" else ""), None


if __name__ == "__main__":
    print(carry_out(Order.model_validate_json(sys.stdin.read())).model_dump_json())
