"""Part ``compat``: what a compatible API takes beyond ``/v1/jobs``, from the call to the image's bytes.

One real API process on real Redis and S3; jobs are ended at once by a worker that computes nothing, so that
the rest of a call is the API's own time, and waking and claiming, which all ways have. The ways alternate,
in turns of all orders, each over a connection that is kept. A call of ``/v1/jobs`` is three requests; what a
client takes to decode the other answers, JSON with base64, counts, and is told: ``WAY_decode_ms``.

Jobs do not wait for the disk (``SWIFT_DURABLE_SUBMIT``), which takes them all to the next of the server's
ticks, 20 ms apart: calls would begin where a tick has left the one before, and take whole ticks plus or minus
what that one did after its own.
"""

import base64
import gzip
import http.client
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle, permutations
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from PIL import Image

from infra.bench.harness.api import Api, running_api_servers
from infra.bench.harness.report import FOLDER, Bound, CheckFailed, Measured, Result
from infra.bench.harness.samples import percentile
from infra.local.servers import running_process
from shared.settings import ROOT

VARIABLES = {"SWIFT_DURABLE_SUBMIT": "off"}
OPTIONS = ["--worker-class", "api.server.worker.ApiWorker"]
SIDE_PX = 512
WARM_UP, QUICK_ROUNDS, ROUNDS = 5, 40, 400
TIMEOUT_S = 60.0
MOST_OVERHEAD_MS = 3.0
PERCENTS = (50, 90)
#: With what the others are compared.
JOBS = "jobs"


class Connection:
    """A connection that is kept, as clients keep theirs."""

    def __init__(self, api: Api) -> None:
        self._connection = http.client.HTTPConnection(*api.address, timeout=TIMEOUT_S)
        self.received_at = 0.0  # when the last answer was there

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The body of an answer; raises `CheckFailed` for a refusal."""
        text = None if body is None else json.dumps(body)
        headers = {"Accept-Encoding": "gzip"}  # as all clients send it
        headers |= {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, text, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        self.received_at = perf_counter()
        if answer.headers["Content-Encoding"] == "gzip":
            data = gzip.decompress(data)
        if answer.status >= 300:
            raise CheckFailed(f"{method} {path}: {answer.status} {data[:200]!r}")
        return data


class Way(NamedTuple):
    """How a client gets an image: the route that it needs, and its calls, which return the image's file."""

    path: str
    generate: Callable[[Connection], bytes]


def through_jobs(connection: Connection) -> bytes:
    """Submit, follow the events to their end, fetch."""
    body = {"prompt": "a cat", "width": SIDE_PX, "height": SIDE_PX, "seed": 7}
    job = json.loads(connection.ask("POST", "/v1/jobs", body))
    connection.ask("GET", job["links"]["events"])
    return connection.ask("GET", f"{job['links']['images']}/0")


def through_openai(connection: Connection) -> bytes:
    """One call, whose answer has the image in base64."""
    body = {"prompt": "a cat", "size": f"{SIDE_PX}x{SIDE_PX}", "seed": 7}
    answer = json.loads(connection.ask("POST", "/v1/images/generations", body))
    return base64.b64decode(answer["data"][0]["b64_json"])


def through_a1111(connection: Connection) -> bytes:
    """The same."""
    body = {"prompt": "a cat", "width": SIDE_PX, "height": SIDE_PX, "seed": 7}
    answer = json.loads(connection.ask("POST", "/sdapi/v1/txt2img", body))
    return base64.b64decode(answer["images"][0])


WAYS = {
    JOBS: Way("/v1/jobs", through_jobs),
    "openai": Way("/v1/images/generations", through_openai),
    "a1111": Way("/sdapi/v1/txt2img", through_a1111),
}


def measure(quick: bool) -> Measured:
    """``WAY_ms_p50`` and ``_p90`` of each way, and ``WAY_overhead_ms_p50``: beyond that of jobs.

    ``WAY_decode_ms_p50`` is the part of it that is the client's own.
    """
    rounds = QUICK_ROUNDS if quick else ROUNDS
    home = FOLDER / "compat"
    png = sample_png(SIDE_PX)
    with (
        running_api_servers(home, variables=VARIABLES) as start,
        start("api", OPTIONS) as api,
        _worker(home, api, png),
    ):
        ways = {name: way for name, way in WAYS.items() if _is_served(api, way.path)}
        connections = {name: Connection(api) for name in ways}
        samples: dict[str, list[float]] = {f"{name}_ms": [] for name in ways}
        samples |= {f"{name}_decode_ms": [] for name in ways if name != JOBS}
        for turn, order in zip(range(-WARM_UP, rounds), cycle(permutations(ways)), strict=False):
            for name in order:
                connection, began = connections[name], perf_counter()
                image = ways[name].generate(connection)
                ended = perf_counter()
                if turn >= 0:
                    samples[f"{name}_ms"].append(1e3 * (ended - began))
                    if name != JOBS:
                        samples[f"{name}_decode_ms"].append(1e3 * (ended - connection.received_at))
                else:
                    _check(name, image, png)
    figures = {
        f"{name}_p{percent}": percentile(values, percent)
        for name, values in samples.items()
        for percent in PERCENTS
    }
    others = ways.keys() - {JOBS}
    for name in others:
        for percent in PERCENTS:
            beyond_ms = figures[f"{name}_ms_p{percent}"] - figures[f"{JOBS}_ms_p{percent}"]
            figures[f"{name}_overhead_ms_p{percent}"] = beyond_ms
    bounds = {f"{name}_overhead_ms_p50": Bound("at_most", MOST_OVERHEAD_MS) for name in others}
    return Measured(figures, samples, bounds, [f"{name} is not served" for name in WAYS.keys() - ways])


def plot(result: Result, left: Any, right: Any) -> None:
    """How long calls took, and what they took beyond ``/v1/jobs``."""
    for name in WAYS:
        if f"{name}_ms" in result.samples:
            left.ecdf(result.samples[f"{name}_ms"], label=name)
    left.set(xlabel="ms", ylabel="share of calls", title="from the call to the image")
    left.legend()
    overhead = {name: value for name, value in result.figures.items() if "_overhead_" in name}
    right.barh(list(overhead), list(overhead.values()))
    right.set(xlabel="ms beyond /v1/jobs", title="overhead")


def sample_png(side_px: int) -> bytes:
    """A file about as large as that of a generated image: smooth, with some noise; always the same."""
    half = side_px // 2
    noise = Image.frombytes("RGB", (half, half), random.Random(7).randbytes(3 * half * half))
    file = BytesIO()
    noise.resize((side_px, side_px), Image.Resampling.BICUBIC).save(file, "PNG", compress_level=1)
    return file.getvalue()


@contextmanager
def _worker(home: Path, api: Api, png: bytes) -> Iterator[None]:
    file = home / "image.png"
    file.write_bytes(png)
    words = [sys.executable, "-m", "infra.bench.parts.web.instant_worker", str(file)]
    with running_process(words, cwd=ROOT, env=api.environment, log=home / "worker.log"):
        yield


def _is_served(api: Api, path: str) -> bool:
    connection = http.client.HTTPConnection(*api.address, timeout=TIMEOUT_S)
    connection.request("OPTIONS", path)
    is_served = connection.getresponse().status != 404
    connection.close()
    return is_served


def _check(name: str, image: bytes, png: bytes) -> None:
    """Pixels, not files: A1111's images have a text chunk more."""
    with Image.open(BytesIO(image)) as ours, Image.open(BytesIO(png)) as expected:
        if ours.tobytes() != expected.tobytes():
            raise CheckFailed(f"{name}: this is not the image of the job")
