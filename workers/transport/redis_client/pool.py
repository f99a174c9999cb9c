"""Connections to the residual servers: one to each, taken together, kept for the next use."""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError, TimeoutError

from shared.redis_clients import LEAST_RENEWAL_S
from workers.transport.redis_client.resp import Connection
from workers.transport.redis_client.waits import RedisWaits

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A server that failed is left alone for so long, where others can do its work.
DOWN_S = 2.0
#: A connection is dead, though nobody has closed it, when no reply comes for this share of a lease.
SILENT_SHARE = 0.75
#: The first server of the list: it holds requests, step tokens, inputs and headers. The others hold only
#: chunks.
PRIMARY = 0


def silent_after_s(lease_s: float) -> float:
    """How long who has claimed a step waits for one reply, or for the server to take more of a command.

    Less than a lease: a job waits no longer for what a dead connection has lost than for a dead worker. More
    than a server takes that serves large residuals: a connection's buffers hold a few megabytes.
    """
    return max(SILENT_SHARE * lease_s, LEAST_RENEWAL_S)


class ConnectionSet:
    """One user's connections, by server, opened when they are first needed."""

    def __init__(self, servers: "ConnectionPool", kept: dict[int, Connection]) -> None:
        self._servers = servers
        self._kept = kept

    def __getitem__(self, server: int) -> Connection:
        connection = self._kept.get(server)
        if connection is None or not connection.is_open:
            connection = self._kept[server] = self._servers.connect(server)
        return connection


class ConnectionPool:
    """The residual servers, in the order of the setting: both ends number them alike."""

    def __init__(self, clients: Sequence["Redis"]) -> None:
        self._pools = [client.connection_pool for client in clients]
        self.waits = RedisWaits()  # of the threads that send and fetch
        self._idle: deque[dict[int, Connection]] = deque()
        self._down_until = [0.0] * len(self._pools)

    def __len__(self) -> int:
        return len(self._pools)

    @contextmanager
    def connections(self) -> Iterator[ConnectionSet]:
        """Connections for one thread; after an error they are not used again."""
        try:
            kept = self._idle.pop()
        except IndexError:
            kept = {}
        try:
            yield ConnectionSet(self, kept)
        except BaseException:
            for connection in kept.values():
                connection.close()
            raise
        self._idle.append(kept)

    def connect(self, server: int) -> Connection:
        """A new connection; raises `redis.ConnectionError`."""
        with self.noting_failures(server):
            return Connection(self._pools[server])

    @contextmanager
    def noting_failures(self, server: int) -> Iterator[None]:
        """Remember if this server does not answer: for a while chunks go elsewhere."""
        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            log.warning("residual server does not answer", extra={"server": server, "error": str(error)})
            self._down_until[server] = time.monotonic() + DOWN_S
            raise

    def available(self) -> list[int]:
        """The servers that have not failed a moment ago; all, if every one has."""
        now = time.monotonic()
        return [i for i, until in enumerate(self._down_until) if until <= now] or list(range(len(self)))
