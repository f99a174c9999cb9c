"""One process of the API, and clients that are idle, slow, gone or malformed, over real sockets."""

import http.client
import json
import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from shared.settings import Settings
from tests.api.gunicorn_server import WAIT_S, call, environment, exchange, open_stream, serving

STREAMS = 200
SLOW = 200
PER_CLIENT = STREAMS + SLOW + 10


@pytest.fixture(scope="module")
def port(servers: Settings) -> Iterator[int]:
    """Of an API that waits a second for whatever a client delays."""
    changes = {
        "SWIFT_HEADER_TIMEOUT_S": "1",
        "SWIFT_BODY_TIMEOUT_S": "1",
        "SWIFT_API_CONNECTIONS_PER_CLIENT": str(PER_CLIENT),
        "SWIFT_API_EVENT_STREAMS": str(STREAMS),
    }
    with serving({**environment(servers), **changes}) as (port, _):
        yield port


@pytest.fixture(scope="module")
def tolerant_api(servers: Settings) -> Iterator[int]:
    """Of one that waits longer than a test takes."""
    changes = {
        "SWIFT_HEADER_TIMEOUT_S": "200",
        "SWIFT_BODY_TIMEOUT_S": "200",
        "SWIFT_API_CONNECTIONS_PER_CLIENT": str(PER_CLIENT),
        "SWIFT_API_EVENT_STREAMS": str(STREAMS),
    }
    with serving({**environment(servers), **changes}) as (port, _):
        yield port


def connect(port: int, data: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    client.sendall(data)
    return client


def submit(port: int) -> str:
    return str(json.loads(call(port, "POST", "/v1/jobs", {"prompt": "a cat"})[1])["id"])


def problem(answer: bytes) -> tuple[int, dict[str, Any]]:
    """The last answer of a connection: its status, and the problem that it must be."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    head = b"HTTP/1.1" + head.rpartition(b"HTTP/1.1")[2]
    assert b"application/problem+json" in head, answer
    return int(head.split()[1]), json.loads(body)


def drip(client: socket.socket, byte: bytes) -> bytes:
    """Send a byte whenever a while has passed without an answer; returns the answer."""
    while not select.select([client], [], [], 0.1)[0]:
        client.sendall(byte)
    return b"".join(iter(lambda: client.recv(65536), b""))


def test_hundreds_of_streams_and_slow_clients_leave_one_process_to_the_others(tolerant_api: int) -> None:
    job_id = submit(tolerant_api)
    with ExitStack() as held:
        # Given as many event streams as there may be, and as many half-sent heads and bodies
        streams = []
        for _ in range(STREAMS):
            client, told = open_stream(tolerant_api, job_id)
            held.callback(client.close)
            assert told.startswith(b"HTTP/1.1 200")
            streams.append(client)
        body = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for i in range(SLOW):
            half = b"GET /healthz HTT" if i % 2 else body + b"Content-Length: 100\r\n\r\n{"
            held.callback(connect(tolerant_api, half).close)
        # Then others are served
        assert call(tolerant_api, "GET", "/healthz")[0].status == 200
        assert submit(tolerant_api)
        # And a stream beyond the bound is refused for now
        late, told = open_stream(tolerant_api, job_id)
        late.close()
        assert told.startswith(b"HTTP/1.1 503")
        assert b"Retry-After" in told
        # And every stream gets what happens
        call(tolerant_api, "POST", f"/v1/jobs/{job_id}/cancel")
        for client in streams:
            told = b""
            while b"event: done" not in told:
                piece = client.recv(65536)
                assert piece, told
                told += piece


def test_connections_of_one_address_are_bounded(tolerant_api: int) -> None:
    with ExitStack() as held:
        for _ in range(PER_CLIENT):
            held.callback(connect(tolerant_api).close)
        status, told = problem(exchange(tolerant_api, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        assert (status, told["code"]) == (429, "too_many_requests")
        assert "SWIFT_API_CONNECTIONS_PER_CLIENT" in told["detail"]


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_head_must_come_whole_and_in_time(port: int, sent: bytes) -> None:
    with connect(port, sent) as client:
        assert client.recv(100) == b""


def test_a_header_sent_byte_by_byte_times_out(port: int) -> None:
    # A byte may come after the end.
    with connect(port, b"GET /healthz HTTP/1.1\r\nX-Slow: ") as client, suppress(ConnectionError):
        assert drip(client, b"x") == b""


def test_an_idle_connection_is_closed(port: int) -> None:
    with connect(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") as client:
        assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("head", "byte"),
    [
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n", b" "),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n", b"0"),
        (b"PUT /v1/loras/slow HTTP/1.1\r\nContent-Length: 5000\r\n", b"\0"),
        (b"PUT /v1/loras/slow HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"0"),
    ],
)
def test_a_body_sent_byte_by_byte_times_out(port: int, head: bytes, byte: bytes) -> None:
    with connect(port, head + b"Host: localhost\r\n\r\n") as client:
        status, told = problem(drip(client, byte))
    assert (status, told["code"]) == (408, "request_timeout")


JOB = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = JOB + b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\nHost: localhost\n\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-N: a\x00b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 421),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\n\r\n", 417),
        (b"GET /healthz?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: x\r\n" * 200 + b"\r\n", 431),
        (JOB + b"Content-Length: two\r\n\r\n{}", 400),
        (JOB + b"Content-Length: -2\r\n\r\n{}", 400),
        (JOB + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (JOB + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
        (JOB + b"Transfer-Encoding: rot13\r\n\r\n{}", 501),
        (JOB + b"Transfer-Encoding: gzip\r\n\r\n{}", 400),
        (CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
        (CHUNKED + b"\r\n-1\r\n{}\r\n0\r\n\r\n", 400),
        (CHUNKED + b"\r\n2\r\n{}garbage\r\n0\r\n\r\n", 400),
        (CHUNKED + b"\r\n" + b"f" * 10_000, 400),
        (CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n", 400),
        (CHUNKED + b"\r\n2\r\n{}\r\n0\r\nbad trailer\r\n\r\n", 400),
        (CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_not_http_is_refused_as_a_problem(tolerant_api: int, request_: bytes, expected: int) -> None:
    status, told = problem(exchange(tolerant_api, request_))
    assert (status, told["status"]) == (expected, expected)
    assert told["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nowhere", 404),
        ("GET", "/healthz", 200),
        ("PUT", "/v1/loras/x", 413),
        ("PUT", "/v1/jobs", 405),
    ],
)
def test_a_body_that_nobody_reads_keeps_no_other_client_waiting(
    tolerant_api: int, method: str, path: str, status: int
) -> None:
    # Given a client that does not stop to send a body, though it could have its answer
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 40}\r\n\r\n"
    is_over = threading.Event()
    with connect(tolerant_api, head.encode()) as client, ThreadPoolExecutor() as pool:
        sending = pool.submit(send_until, is_over, client)
        # Then others are answered meanwhile
        try:
            assert call(tolerant_api, "GET", "/healthz")[0].status == 200
        finally:
            is_over.set()
        sending.result()
        assert client.recv(65536).startswith(f"HTTP/1.1 {status}".encode())


def send_until(is_over: threading.Event, client: socket.socket) -> None:
    client.sendall(bytes(8 << 20))  # at least
    while not is_over.is_set():
        client.sendall(bytes(1 << 20))


def test_who_sends_a_whole_body_first_hears_why_it_is_refused_and_may_go_on(tolerant_api: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", tolerant_api, timeout=WAIT_S)
    for _ in range(2):
        connection.request("POST", "/nowhere", bytes(20 << 20), {"Host": "localhost"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (404, "not_found")
    connection.close()


def test_a_body_that_breaks_off_is_a_bad_request(tolerant_api: int) -> None:
    for framing in (b"Content-Length: 10\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"):
        with connect(tolerant_api, JOB + framing) as client:
            client.shutdown(socket.SHUT_WR)
            status, told = problem(b"".join(iter(lambda: client.recv(65536), b"")))
        assert (status, told["code"]) == (400, "bad_request")


def test_nobody_sets_our_path_by_a_header(tolerant_api: int) -> None:
    headers = {"Script_Name": "/x", "Path_Info": "/y", "X-Forwarded-Host": "evil.example"}
    assert call(tolerant_api, "GET", "/healthz", **headers)[0].status == 200
