"""Back-pressure: nothing large is sent to a residual server that is nearly full.

A server that runs full throws away what would expire next, which somebody may be waiting for. So a
writer waits until readers have taken theirs, and gives up with an error that is worth another try.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import OutOfMemoryError

from shared.errors import ResidualServersFull
from workers.transport.redis_client.pool import ConnectionPool, ConnectionSet

#: The share of a server's memory limit that residuals may fill.
FULL = 0.8
#: How long what a server said of its memory is believed, and how long a full one is left alone.
BELIEVED_S, PAUSE_S = 0.2, 0.02
REPLY_S = 10.0
T = TypeVar("T")


class Backpressure:
    """What this writer knows of the servers' memory; safe to use from several threads."""

    def __init__(self, servers: ConnectionPool, patience_s: float) -> None:
        self._servers = servers
        self._patience_s = patience_s
        self._asked_at = [float("-inf")] * len(servers)
        self._room_bytes = [0.0] * len(servers)

    def when_accepted(
        self, links: ConnectionSet, size_bytes: int, is_wanted: Callable[[], bool], lay_down: Callable[[], T]
    ) -> T | None:
        """Lay down so many bytes once there is room; ``None`` if nobody wants them any more.

        Raises `ResidualServersFull` if there is no room in time.
        """
        deadline = time.monotonic() + self._patience_s
        while is_wanted():
            if self._has_room(links, size_bytes):
                try:
                    return lay_down()
                except OutOfMemoryError:  # others were faster
                    self._room_bytes = [0.0] * len(self._room_bytes)
            if time.monotonic() > deadline:
                raise ResidualServersFull(f"the residual servers have no room for {size_bytes} bytes")
            time.sleep(PAUSE_S)
        return None

    def _has_room(self, links: ConnectionSet, size_bytes: int) -> bool:
        servers = self._servers.up()
        share = size_bytes / len(servers)
        if any(self._known_room(links, server, share) < share for server in servers):
            return False
        for server in servers:
            self._room_bytes[server] -= share
        return True

    def _known_room(self, links: ConnectionSet, server: int, share: float) -> float:
        now = time.monotonic()
        if now - self._asked_at[server] > BELIEVED_S or self._room_bytes[server] < share:
            with self._servers.noting(server):
                self._room_bytes[server] = _ask(links, server)
            self._asked_at[server] = now
        return self._room_bytes[server]


def _ask(links: ConnectionSet, server: int) -> float:
    """Bytes until the server is full enough; without a limit it never is."""
    link = links[server]
    link.send([(b"INFO", b"memory")])
    lines = link.read(REPLY_S).split(b"\r\n")
    told = dict(line.split(b":", 1) for line in lines if b":" in line)
    limit = int(told[b"maxmemory"])
    return FULL * limit - int(told[b"used_memory"]) if limit else float("inf")
