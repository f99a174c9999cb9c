"""A proxy of limited bandwidth before a server: on one machine, files of a megabyte would arrive at once."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 1 << 14


@contextmanager
def slow_line(port: int, bytes_per_s: float) -> Iterator[int]:
    """A port that forwards to ``port``; each connection returns at most so many bytes a second."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=_accept, args=[listener, port, bytes_per_s], daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.close()


def _accept(listener: socket.socket, port: int, bytes_per_s: float) -> None:
    while True:
        try:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return  # closed
        for source, sink, pause_s in ((near, far, 0.0), (far, near, 1 / bytes_per_s)):
            threading.Thread(target=_carry, args=[source, sink, pause_s], daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket, s_per_byte: float) -> None:
    """Pass bytes on until one side closes; ``s_per_byte`` slows them down."""
    with suppress(OSError), source, sink:
        while chunk := source.recv(CHUNK_BYTES):
            sink.sendall(chunk)
            time.sleep(len(chunk) * s_per_byte)
    for side in (source, sink):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
