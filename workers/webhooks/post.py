"""One POST to a receiver: no redirect, no proxy, a deadline for all of it, and a bounded part of the answer.

The connection goes to an address that was checked before, whatever the host's name resolves to meanwhile. An
HTTP client of a library resolves by itself, and its timeouts bound each read: a receiver that sends a byte
now and then would hold a thread for hours.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import NamedTuple

from shared.webhooks.targets import Target

#: Of an answer's body this much is read, and dropped: the status alone counts.
ANSWER_BYTES = 64 << 10


class Answer(NamedTuple):
    """What a receiver answered, or why it did not."""

    status: int | None = None
    retry_after_s: float | None = None
    error: str = ""


def post(
    target: Target,
    addresses: Sequence[str],
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    deadline: float | None = None,
    tls: ssl.SSLContext,
) -> Answer:
    """Send ``body`` to the first address that takes a connection; an error is an answer, too.

    ``deadline``, of `time.monotonic`, is that of an attempt that began before; else it is in ``timeout_s``.
    ``tls`` says whose certificates are trusted.
    """
    deadline = time.monotonic() + timeout_s if deadline is None else deadline
    try:
        connected = _connect(target, addresses, deadline, tls)
        with connected as connection, _cut_at(deadline, connection) as was_cut:
            response = _exchange(target, connection, body, headers)
            if was_cut.is_set():  # what has come of the header ends there, as if it were whole
                raise TimeoutError
            return _read(response)
    except (OSError, HTTPException, ValueError) as error:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            return Answer(error=f"no answer within {timeout_s:g} s")
        return Answer(error=_explain(error))


def _connect(target: Target, addresses: Sequence[str], deadline: float, tls: ssl.SSLContext) -> socket.socket:
    failure: OSError = TimeoutError()
    for address in addresses:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        try:
            connection = socket.create_connection((address, target.port), timeout=left_s)
        except OSError as error:
            failure = error
            continue
        if target.scheme == "http":
            return connection
        # The handshake is under the deadline, too: it comes once the connection can be cut.
        return tls.wrap_socket(connection, server_hostname=target.host, do_handshake_on_connect=False)
    raise failure


@contextmanager
def _cut_at(deadline: float, connection: socket.socket) -> Iterator[threading.Event]:
    """Shut the connection down at the deadline, whatever waits for it then; the event says that it was."""
    was_cut = threading.Event()

    def cut() -> None:
        was_cut.set()
        with suppress(OSError):
            # Not SSLSocket's own, which drops its state under the thread that reads.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(max(deadline - time.monotonic(), 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield was_cut
    finally:
        timer.cancel()


def _exchange(
    target: Target, connection: socket.socket, body: bytes, headers: Mapping[str, str]
) -> HTTPResponse:
    if isinstance(connection, ssl.SSLSocket):
        connection.do_handshake()
    http = HTTPConnection(target.host, target.port)
    http.sock = connection
    http.request("POST", target.path, body, {**headers, "Host": target.host_header, "Connection": "close"})
    return http.getresponse()


def _read(response: HTTPResponse) -> Answer:
    with suppress(OSError, HTTPException, ValueError):  # the status has come
        response.read(ANSWER_BYTES)
    retry_after = response.getheader("Retry-After")
    return Answer(response.status, None if retry_after is None else _seconds(retry_after))


def _seconds(retry_after: str) -> float | None:
    """``Retry-After`` as seconds from now; ``None`` for what is neither a number of seconds nor a date."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max((date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)


def _explain(error: Exception) -> str:
    """The error in words that say nothing of the network that this process is in."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "no TLS connection"
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections"
    if isinstance(error, HTTPException | ValueError):
        return "its answer is no HTTP"
    return "the connection failed"
