"""Proxies of limited bandwidth before a server: on one machine, files would arrive at once."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES, SHARED_CHUNK_BYTES = 1 << 14, 1 << 17
#: A shared line that had nothing to carry for a moment makes up for this much of it.
CREDIT_S = 0.05
#: Waits as long as so many bytes take that were carried.
Pace = Callable[[int], None]


@contextmanager
def slow_line(port: int, bytes_per_s: float) -> Iterator[int]:
    """A port that forwards to ``port``; each connection returns at most so many bytes a second."""
    with _listening(port, lambda count: time.sleep(count / bytes_per_s), CHUNK_BYTES) as own_port:
        yield own_port


class SharedLine:
    """A line whose connections share its bandwidth; counts what it has returned."""

    def __init__(self, bytes_per_s: float) -> None:
        self.port = 0  # where it listens
        self.carried_bytes = 0
        self._s_per_byte = 1 / bytes_per_s
        self._free_at = 0.0
        self._lock = threading.Lock()

    def pace(self, count: int) -> None:
        """Wait until the line has had the time for ``count`` more bytes."""
        with self._lock:
            self.carried_bytes += count
            self._free_at = max(self._free_at, time.monotonic() - CREDIT_S) + count * self._s_per_byte
            free_at = self._free_at
        time.sleep(max(0.0, free_at - time.monotonic()))


@contextmanager
def shared_line(port: int, bytes_per_s: float) -> Iterator[SharedLine]:
    """A line to ``port``; all its connections together return at most so many bytes a second."""
    line = SharedLine(bytes_per_s)
    with _listening(port, line.pace, SHARED_CHUNK_BYTES) as line.port:
        yield line


@contextmanager
def _listening(port: int, pace: Pace, chunk_bytes: int) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=_accept, args=[listener, port, pace, chunk_bytes], daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.close()


def _accept(listener: socket.socket, port: int, pace: Pace, chunk_bytes: int) -> None:
    while True:
        try:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return  # closed
        for source, sink, own_pace in ((near, far, _at_once), (far, near, pace)):
            threading.Thread(target=_carry, args=[source, sink, own_pace, chunk_bytes], daemon=True).start()


def _at_once(_count: int) -> None:
    pass


def _carry(source: socket.socket, sink: socket.socket, pace: Pace, chunk_bytes: int) -> None:
    """Pass bytes on until one side closes; ``pace`` slows them down."""
    with suppress(OSError), source, sink:
        while chunk := source.recv(chunk_bytes):
            sink.sendall(chunk)
            pace(len(chunk))
        for side in (source, sink):  # closing alone would not end the other thread's wait for bytes
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
