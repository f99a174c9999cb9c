"""The Redis rung: a residual's bytes in keys at the residual servers, cut into chunks.

Chunks, because a server's allocator gives large blocks back to the system after each use, and fresh
pages cost more than the copy; and because chunks of one residual lie on several servers.
"""

from collections.abc import Iterator, Sequence

from redis.exceptions import ConnectionError, TimeoutError

from workers.transport.redis_client.pool import ConnectionPool, ConnectionSet

CHUNK_BYTES = 2 << 20
#: Chunks asked for ahead, per server: it sends one while the next is being prepared, and holds no more.
AHEAD = 2
#: One chunk, or its acknowledgement, takes less than this.
CHUNK_S = 10.0


class ChunkedRedis:
    """Bodies of residuals at the residual servers. Each is read once: reading removes it."""

    def __init__(self, servers: ConnectionPool, ttl_s: int) -> None:
        self._servers = servers
        self._ttl_s = b"%d" % ttl_s

    def put(self, links: ConnectionSet, key: str, memory: memoryview, *, index: int) -> list[int]:
        """Lay down the body of residual ``index``; returns the servers that hold its chunks, in turn.

        Bodies begin at different servers, so that those of one chunk are spread, too.
        A server that fails is passed over, except the last one: then its error is raised.
        """
        up = self._servers.up()
        servers = [*up[index % len(up) :], *up[: index % len(up)]]
        while True:
            try:
                self._put(links, key, memory, servers)
                return servers
            except (ConnectionError, TimeoutError):
                up = self._servers.up()
                servers = [server for server in servers if server in up and len(up) < len(self._servers)]
                if not servers:
                    raise

    def fetch(self, links: ConnectionSet, key: str, servers: Sequence[int], memory: memoryview) -> bool:
        """Receive a body into ``memory``; ``False`` if some of it is not there (any more)."""
        chunks = list(_cut(memory))
        asked, whole = 0, True
        for i, chunk in enumerate(chunks):
            while asked < min(len(chunks), i + AHEAD * len(servers)):
                links[servers[asked % len(servers)]].send([(b"GETDEL", _name(key, asked))])
                asked += 1
            whole &= links[servers[i % len(servers)]].read_into(chunk, CHUNK_S)
        return whole

    def drop(self, links: ConnectionSet, key: str, servers: Sequence[int], size_bytes: int) -> None:
        """Remove a body that nobody reads."""
        for i in range(-(-size_bytes // CHUNK_BYTES)):
            links[servers[i % len(servers)]].send([(b"UNLINK", _name(key, i))])
        for server in set(servers):
            links[server].settle(CHUNK_S)

    def _put(self, links: ConnectionSet, key: str, memory: memoryview, servers: Sequence[int]) -> None:
        for i, chunk in enumerate(_cut(memory)):
            server = servers[i % len(servers)]
            with self._servers.noting(server):
                links[server].send([(b"SET", _name(key, i), chunk, b"EX", self._ttl_s)])
        for server in servers:
            with self._servers.noting(server):
                links[server].settle(CHUNK_S)


def _cut(memory: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(memory), CHUNK_BYTES):
        yield memory[start : start + CHUNK_BYTES]


def _name(key: str, chunk: int) -> bytes:
    return f"{key}:{chunk}".encode()
