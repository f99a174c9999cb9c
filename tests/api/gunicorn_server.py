"""The API as it is really run: gunicorn in a process of its own, asked over sockets."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from shared.settings import ROOT, Settings

WORKER_CLASS = "api.server.worker.ApiWorker"
#: For a start or an answer, on a machine that runs other tests meanwhile.
WAIT_S = 120


def environment(servers: Settings) -> dict[str, str]:
    """Variables of a process that uses ``servers``."""
    return {
        **os.environ,
        "SWIFT_HOME": str(servers.home),
        "SWIFT_REDIS_URL": servers.redis_url,
        "SWIFT_RESIDUAL_REDIS_URL": servers.residual_redis_url[0],
        "SWIFT_S3_PORT": str(servers.s3_port),
        "SWIFT_DURABLE_SUBMIT": servers.durable_submit,
    }


@contextmanager
def serving(environ: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "api.wsgi:app", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", WORKER_CLASS, "--log-level", "warning"]
    command += ["--graceful-timeout", "1", "--timeout", str(WAIT_S)]
    process = subprocess.Popen(command, cwd=ROOT, env=environ)
    try:
        deadline = time.monotonic() + WAIT_S
        while not _listens(port):
            assert time.monotonic() < deadline, "gunicorn does not listen"
            time.sleep(0.05)
        call(port, "GET", "/healthz")  # waits until the worker has loaded the app
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(timeout=WAIT_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def call(
    port: int, method: str, path: str, body: object = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"Content-Type": "application/json", **headers}
        connection.request(method, path, body, headers)  # type: ignore[arg-type]
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def exchange(port: int, request: bytes) -> bytes:
    """Everything that comes back on a connection of its own, until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def open_stream(port: int, job_id: str) -> tuple[socket.socket, bytes]:
    """A stream of a job's events, and what has come of it: its first event, or why there is none."""
    client = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    client.sendall(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    told = client.recv(65536)
    while told.startswith(b"HTTP/1.1 200") and b"event: status" not in told:
        piece = client.recv(65536)
        assert piece, told
        told += piece
    return client, told
