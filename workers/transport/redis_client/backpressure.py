"""Backpressure: nothing large is sent to a residual server that is nearly full.

A full server evicts the keys that expire next, and a step may be waiting for one of them. So a writer waits
until readers have taken theirs, and gives up with an error that is worth another try.
"""

import time
from collections.abc import Callable

from shared.errors import ResidualServersFull
from workers.transport.redis_client.pool import ConnectionPool
from workers.transport.redis_client.resp import Connection

#: The share of a server's memory limit that residuals may fill.
MAX_FILL_SHARE = 0.8
#: How long a server's answer about its memory is reused; the pause before a full server is asked again.
MEMORY_CACHE_S, PAUSE_S = 0.2, 0.02


class Backpressure:
    """What this writer knows of the servers' free memory; safe to use from several threads."""

    def __init__(self, servers: ConnectionPool, wait_s: float, reply_s: float) -> None:
        """``wait_s``: how long a writer waits for space; ``reply_s``: and for a server's answer."""
        self._servers = servers
        self._reply_s = reply_s
        self._wait_s = wait_s
        self._asked_at = [float("-inf")] * len(servers)
        self._free_bytes = [0.0] * len(servers)

    def has_space(self, size_bytes: int) -> bool:
        """Whether the servers take so many bytes now."""
        servers = self._servers.available()
        share = size_bytes / len(servers)
        return all(self._known_free(server, share) >= share for server in servers)

    def wait_for_space(self, size_bytes: int, *, is_wanted: Callable[[], bool]) -> bool:
        """Wait until there is space for so many bytes, which then counts as used.

        ``False`` if they are not wanted any more: ``is_wanted`` is asked before each further look. Raises
        `ResidualServersFull` if there is no space in time.
        """
        deadline = time.monotonic() + self._wait_s
        while not self.has_space(size_bytes):
            if time.monotonic() > deadline:
                raise ResidualServersFull(f"the residual servers have no space for {size_bytes} bytes")
            time.sleep(PAUSE_S)
            if not is_wanted():
                return False
        servers = self._servers.available()
        for server in servers:
            self._free_bytes[server] -= size_bytes / len(servers)
        return True

    def note_full(self) -> None:
        """A server has refused a payload: other writers were faster."""
        self._free_bytes = [0.0] * len(self._free_bytes)

    def _known_free(self, server: int, share: float) -> float:
        now = time.monotonic()
        if now - self._asked_at[server] > MEMORY_CACHE_S or self._free_bytes[server] < share:
            with self._servers.connections() as connections, self._servers.noting_failures(server):
                self._free_bytes[server] = _read_free_bytes(connections[server], self._reply_s)
            self._asked_at[server] = now
        return self._free_bytes[server]


def _read_free_bytes(connection: Connection, reply_s: float) -> float:
    """Bytes until the server counts as full; infinite without a limit."""
    connection.send([(b"INFO", b"memory")], reply_s)
    lines = connection.read(reply_s).split(b"\r\n")
    fields = dict(line.split(b":", 1) for line in lines if b":" in line)
    limit = int(fields[b"maxmemory"])
    return MAX_FILL_SHARE * limit - int(fields[b"used_memory"]) if limit else float("inf")
