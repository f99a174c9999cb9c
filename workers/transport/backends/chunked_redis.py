"""The bytes of one payload as chunks in Redis keys, spread over the residual servers.

Chunks, because a server's allocator gives large blocks back to the system after each use, and fresh pages
cost more than the copy; and because the chunks of one payload lie on several servers.
"""

from collections.abc import Iterator, Sequence

from workers.transport.redis_client.pool import ConnectionPool, ConnectionSet
from workers.transport.redis_client.resp import Command

CHUNK_BYTES = 2 << 20
#: Chunks requested ahead, per server: it sends one while it prepares the next, and holds no more.
AHEAD = 2
#: One chunk, or its acknowledgement, takes less than this.
CHUNK_S = 10.0


class ChunkedRedis:
    """Stores payloads at the residual servers. Each is read once: reading removes it."""

    def __init__(self, servers: ConnectionPool, ttl_s: int) -> None:
        self._servers = servers
        self._ttl_s = b"%d" % ttl_s

    def spread(self, index: int) -> list[int]:
        """The servers that shall hold the chunks of residual ``index``, in turn.

        Payloads begin at different servers, so that those of one chunk are spread, too.
        """
        available = self._servers.available()
        return [*available[index % len(available) :], *available[: index % len(available)]]

    def commands(self, key: str, memory: memoryview, servers: Sequence[int]) -> dict[int, list[Command]]:
        """What stores a payload on ``servers``, by server."""
        found: dict[int, list[Command]] = {}
        for i, chunk in enumerate(_chunks(memory)):
            command = (b"SET", _chunk_key(key, i), chunk, b"EX", self._ttl_s)
            found.setdefault(servers[i % len(servers)], []).append(command)
        return found

    def take(self, connections: ConnectionSet, key: str, servers: Sequence[int], memory: memoryview) -> bool:
        """Receive a payload into ``memory``; ``False`` if some of it is not there (any more)."""
        chunks = list(_chunks(memory))
        requested, is_whole = 0, True
        for i, chunk in enumerate(chunks):
            while requested < min(len(chunks), i + AHEAD * len(servers)):
                server = servers[requested % len(servers)]
                connections[server].send([(b"GETDEL", _chunk_key(key, requested))])
                requested += 1
            is_whole &= connections[servers[i % len(servers)]].read_into(chunk, CHUNK_S)
        return is_whole

    def remove(self, connections: ConnectionSet, key: str, servers: Sequence[int], size_bytes: int) -> None:
        """Remove a payload that nobody reads."""
        for i in range(-(-size_bytes // CHUNK_BYTES)):
            connections[servers[i % len(servers)]].send([(b"UNLINK", _chunk_key(key, i))])
        for server in set(servers):
            connections[server].read_pending(CHUNK_S)


def _chunks(memory: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(memory), CHUNK_BYTES):
        yield memory[start : start + CHUNK_BYTES]


def _chunk_key(key: str, chunk: int) -> bytes:
    return f"{key}:{chunk}".encode()
