"""Connections to the residual servers: one to each, taken together, kept for the next who needs them."""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError, TimeoutError

from workers.transport.redis_client.resp import Connection

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: A server that failed is left alone for so long, where others can do its work.
DOWN_S = 2.0
CONNECT_S = 5.0
#: The first of the list: requests, turns, inputs and answers are there. The others hold only bodies.
PRIMARY = 0


class ConnectionSet:
    """Connections of one taker, opened when they are first needed."""

    def __init__(self, servers: "ConnectionPool", kept: dict[int, Connection]) -> None:
        self._servers = servers
        self._kept = kept

    def __getitem__(self, server: int) -> Connection:
        link = self._kept.get(server)
        if link is None or not link.is_open:
            link = self._kept[server] = self._servers.connect(server)
        return link


class ConnectionPool:
    """The residual servers, in the order of the setting: both ends number them alike."""

    def __init__(self, clients: Sequence["Redis"], scripts: Sequence[bytes] = ()) -> None:
        self._pools = [client.connection_pool for client in clients]
        self._scripts = scripts
        self._idle: deque[dict[int, Connection]] = deque()
        self._down_until = [0.0] * len(self._pools)

    def __len__(self) -> int:
        return len(self._pools)

    @contextmanager
    def links(self) -> Iterator[ConnectionSet]:
        """Connections for one thread; after an error they are not used again."""
        try:
            kept = self._idle.pop()
        except IndexError:
            kept = {}
        try:
            yield ConnectionSet(self, kept)
        except BaseException:
            for link in kept.values():
                link.close()
            raise
        self._idle.append(kept)

    def connect(self, server: int) -> Connection:
        """A new connection, on which the scripts are known; raises `redis.ConnectionError`."""
        with self.noting(server):
            link = Connection(self._pools[server])
        link.send([(b"SCRIPT", b"LOAD", script) for script in self._scripts])
        link.settle(CONNECT_S)
        return link

    @contextmanager
    def noting(self, server: int) -> Iterator[None]:
        """Remember if this server does not answer: for a while bodies go elsewhere."""
        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            log.warning("residual server %d does not answer: %s", server, error)
            self._down_until[server] = time.monotonic() + DOWN_S
            raise

    def up(self) -> list[int]:
        """The servers that have not failed a moment ago; all, if every one has."""
        now = time.monotonic()
        return [i for i, until in enumerate(self._down_until) if until <= now] or list(range(len(self)))
