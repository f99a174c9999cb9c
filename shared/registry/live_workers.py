"""The live workers as a process last read them: everybody in it who asks shares one reading a second."""

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from shared.registry.workers import Heartbeat, live_workers

if TYPE_CHECKING:
    from redis import Redis

#: How long a list of live workers is used before it is read again.
CACHE_S = 1.0


class _Reading(NamedTuple):
    workers: list[Heartbeat]
    began_at: float  # time.monotonic()


class LiveWorkersCache:
    """The live workers, read from Redis at most once in ``cache_s`` seconds; safe in several threads.

    With 1,000 workers, one reading takes some 50 ms of a process.
    """

    def __init__(self, redis: "Redis", *, cache_s: float = CACHE_S) -> None:
        self._redis = redis
        self._cache_s = cache_s
        self._lock = threading.Lock()  # held by who reads
        self._last = _Reading([], float("-inf"))

    def read(self) -> list[Heartbeat]:
        """The last heartbeat of each live worker; raises `redis.RedisError`."""
        with self._lock:
            if self._age_s() >= self._cache_s:
                began_at = time.monotonic()
                self._last = _Reading(live_workers(self._redis), began_at)
            return self._last.workers

    def _age_s(self) -> float:
        return time.monotonic() - self._last.began_at
