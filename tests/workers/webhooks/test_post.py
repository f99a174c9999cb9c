"""What receivers answer, and what they do in place of an answer: a real server on loopback."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from infra.bench.harness.ports import free_ports
from shared.webhooks.targets import Target
from tests.workers.webhooks.receiver import Received, Receiver, raw, running_receiver, status
from workers.webhooks.post import Answer, post

LOOPBACK = ["127.0.0.1"]
TLS = ssl.create_default_context()


def send(receiver: Receiver, *, timeout_s: float = 30, addresses: list[str] = LOOPBACK) -> Answer:
    target = Target("http", "hooks.example", receiver.port, "/hooks?a=1")
    return post(target, addresses, b'{"a": 1}', {"webhook-id": "msg_1"}, timeout_s=timeout_s, tls=TLS)


def test_a_request_reaches_the_checked_address_under_the_hosts_name(receiver: Receiver) -> None:
    assert send(receiver) == Answer(204)
    received = receiver.next()
    assert (received.path, received.body) == ("/hooks?a=1", '{"a": 1}')
    assert received.headers["host"] == f"hooks.example:{receiver.port}"
    assert received.id == "msg_1"


def test_a_request_whose_attempt_has_used_up_its_time_is_not_made(receiver: Receiver) -> None:
    target = Target("http", "hooks.example", receiver.port, "/")
    answer = post(target, LOOPBACK, b"{}", {}, timeout_s=30, deadline=time.monotonic(), tls=TLS)
    assert answer == Answer(error="no answer within 30 s")
    assert receiver.all() == []


def test_the_next_address_is_tried_where_nobody_listens(receiver: Receiver) -> None:
    assert send(receiver, addresses=["127.0.0.2", *LOOPBACK]) == Answer(204)


@pytest.mark.parametrize("code", [200, 201, 204, 301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
def test_the_status_is_the_answer_and_no_redirect_is_followed(receiver: Receiver, code: int) -> None:
    receiver.answer = status(code, Location=receiver.url("/elsewhere"))
    assert send(receiver).status == code
    assert [one.path for one in receiver.all()] == ["/hooks?a=1"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("9" * 40, float("9" * 12)),
        ("-5", None),
        ("soon", None),
        ("²", None),
    ],
)
def test_retry_after_is_a_number_of_seconds(receiver: Receiver, text: str, seconds: float | None) -> None:
    receiver.answer = raw(
        f"HTTP/1.1 503 x\r\nRetry-After: {text}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    )
    assert send(receiver).retry_after_s == seconds


def test_retry_after_may_be_a_date(receiver: Receiver) -> None:
    receiver.answer = status(
        503, Retry_After=format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    )
    assert 3500 < (send(receiver).retry_after_s or 0) <= 3600
    receiver.answer = status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")
    assert send(receiver).retry_after_s == 0


def test_of_an_answer_without_end_a_bounded_part_is_read(receiver: Receiver) -> None:
    hung_up = threading.Event()

    def answer(_: Received, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        try:
            while True:
                handler.wfile.write(bytes(65_536))
        except OSError:
            hung_up.set()
            raise

    receiver.answer = answer
    assert send(receiver).status == 200
    assert hung_up.wait(60)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
        b"<html>",
    ],
)
def test_an_answer_that_is_no_http_is_a_failure(receiver: Receiver, data: bytes) -> None:
    receiver.answer = raw(data)
    answer = send(receiver)
    assert answer.status is None
    assert answer.error in ("its answer is no HTTP", "the connection failed")


def test_a_body_that_breaks_off_leaves_the_status(receiver: Receiver) -> None:
    receiver.answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
    assert send(receiver).status == 200


def test_a_receiver_that_does_not_answer_is_left_at_the_deadline(receiver: Receiver) -> None:
    receiver.answer = lambda *_: receiver.stopping.wait() and None
    assert send(receiver, timeout_s=0.3) == Answer(error="no answer within 0.3 s")


def test_a_receiver_that_sends_a_byte_now_and_then_is_left_at_the_deadline(receiver: Receiver) -> None:
    def answer(_: Received, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not receiver.stopping.wait(0.02):  # each read of the sender is answered in time
            handler.wfile.write(b"x")

    receiver.answer = answer
    assert send(receiver, timeout_s=0.5) == Answer(error="no answer within 0.5 s")


def test_a_receiver_that_is_not_there_is_a_failure() -> None:
    (port,) = free_ports(1)
    target = Target("http", "hooks.example", port, "/")
    assert post(target, LOOPBACK, b"{}", {}, timeout_s=60, tls=TLS) == Answer(error="it refuses connections")


def test_a_server_without_tls_is_a_failure_of_https(receiver: Receiver) -> None:
    target = Target("https", "hooks.example", receiver.port, "/")
    assert post(target, LOOPBACK, b"{}", {}, timeout_s=60, tls=TLS).error in (
        "no TLS connection",
        "the connection failed",
    )


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[Receiver, Path]]:
    """A receiver behind TLS, and its certificate, which it has signed itself for hooks.example."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=x"
    names = ["-addext", "subjectAltName=DNS:hooks.example", "-keyout", key, "-out", certificate]
    subprocess.run([*words.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with running_receiver(context) as receiver:
        yield receiver, certificate


def test_the_certificate_must_be_trusted_and_of_the_hosts_name(https: tuple[Receiver, Path]) -> None:
    receiver, certificate = https

    def send_to(host: str, tls: ssl.SSLContext) -> Answer:
        target = Target("https", host, receiver.port, "/")
        return post(target, LOOPBACK, b"{}", {}, timeout_s=30, tls=tls)

    trusting = ssl.create_default_context(cafile=certificate)
    assert send_to("hooks.example", TLS).error.startswith("its certificate is not valid")
    assert send_to("hooks.example", trusting) == Answer(204)
    assert send_to("other.example", trusting).error.startswith("its certificate is not valid")


def test_a_handshake_that_never_ends_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target("https", "hooks.example", silent.getsockname()[1], "/")
        assert post(target, LOOPBACK, b"{}", {}, timeout_s=0.3, tls=TLS) == Answer(
            error="no answer within 0.3 s"
        )
