"""A client's connection that is closed when its client reads or sends too slowly."""

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import gevent
from gunicorn.util import close_graceful

T = TypeVar("T")

#: How long a closed connection is still read from, so that the client gets the response and not a reset.
LINGER_S = 1.0


class MinTransferRate:
    """A rule for a transfer: in ``wait_s`` seconds of waiting, at least that times ``min_bytes_per_s`` bytes.

    Only time in which the client is waited for counts: what we do between two pieces is not its fault.
    """

    def __init__(self, wait_s: float, min_bytes_per_s: int) -> None:
        self._wait_s, self._min_bytes = wait_s, wait_s * min_bytes_per_s
        self._waited_s, self._bytes = 0.0, 0

    def move(self, sock: Any, transfer: Callable[[], T], count: Callable[[T], int]) -> T:
        """What ``transfer`` returns, which blocks on ``sock``; raises `TimeoutError` once it is too slow."""
        before, began = sock.gettimeout(), time.monotonic()
        sock.settimeout(max(self._wait_s - self._waited_s, 1e-3))
        try:
            moved = transfer()
        finally:
            sock.settimeout(before)
            self._waited_s += time.monotonic() - began
        self._bytes += count(moved)
        if self._bytes >= self._min_bytes:
            self._waited_s, self._bytes = 0.0, 0
        elif self._waited_s >= self._wait_s:
            raise TimeoutError
        return moved


class ClientSocket:
    """gunicorn's side of a connection: a socket of gevent whose transfers keep a `MinTransferRate`.

    The head of a request has a deadline of its own, which the server sets: see `ApiWorker.timeout_ctx`.
    """

    def __init__(
        self,
        sock: Any,
        *,
        sending: MinTransferRate,
        abort: Callable[["ClientSocket"], AbstractContextManager[None]],
    ) -> None:
        self._sock = sock
        self._sending = sending
        self._receiving: MinTransferRate | None = None
        self._abort = abort
        self._has_read = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def take_turns(self) -> None:
        """Called before each request is answered: several that came at once let other clients go first."""
        if not self._has_read:
            gevent.sleep(0)
        self._has_read = False

    def abort_on_disconnect(self) -> AbstractContextManager[None]:
        """Within the block a client that hangs up raises `ClientDisconnected`, wherever the block waits."""
        return self._abort(self)

    @contextmanager
    def receiving(self, pace: MinTransferRate) -> Iterator[None]:
        """Within the block whatever is read keeps ``pace``, or `TimeoutError` is raised."""
        self._receiving = pace
        try:
            yield
        finally:
            self._receiving = None

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As a socket's."""
        self._has_read = True
        if self._receiving is None:
            return bytes(self._sock.recv(size, flags))
        gevent.sleep(0)  # lets other greenlets run when a client sends without a pause
        return self._receiving.move(self._sock, lambda: bytes(self._sock.recv(size, flags)), len)

    def send(self, data: Any, flags: int = 0) -> int:
        """As a socket's. Raises `BrokenPipeError` if the client reads too slowly."""
        try:
            return self._sending.move(self._sock, lambda: int(self._sock.send(data, flags)), int)
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "the client does not read its response") from None

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As a socket's. Raises `BrokenPipeError` if the client reads too slowly."""
        left = memoryview(data).cast("B")
        while left:
            left = left[self.send(left, flags) :]

    def close(self) -> None:
        """Shut down sending, and let the client read what has been sent."""
        close_graceful(self._sock, timeout=LINGER_S)

    def has_hung_up(self) -> bool:
        """Whether the client has closed its side, or is gone. Known on Linux only; False elsewhere."""
        try:
            state = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except (AttributeError, OSError):  # no TCP_INFO here, a unix socket, or closed by ourselves
            return False
        return bool(state != TCP_ESTABLISHED)


#: From linux/tcp_states.h.
TCP_ESTABLISHED = 1
