"""Ends a request whose body stops coming: it would hold its thread, and its upload's slot, for ever."""

from socket import socket
from typing import IO

from flask import Flask, request

from shared.errors import RequestTimeout


def register(app: Flask, wait_s: float) -> None:
    """Have reading a body raise `RequestTimeout` once none of it has come for ``wait_s``.

    gunicorn hands its socket over; how long other servers wait is their own business.
    """

    @app.before_request
    def before_request() -> None:
        sock = request.environ.get("gunicorn.socket")
        if sock is not None:
            request.environ["wsgi.input"] = _Input(request.environ["wsgi.input"], sock, wait_s)


class _Input:
    """The body as it comes from a socket, which waits for ever by itself."""

    def __init__(self, body: IO[bytes], sock: socket, wait_s: float) -> None:
        self._body, self._sock, self._wait_s = body, sock, wait_s

    def read(self, count: int) -> bytes:
        """As of the body; each piece of it may take so long."""
        before = self._sock.gettimeout()
        self._sock.settimeout(self._wait_s)
        try:
            return self._body.read(count)
        except TimeoutError:
            raise RequestTimeout(f"nothing more of the body has come for {self._wait_s:g} s") from None
        finally:
            self._sock.settimeout(before)
