"""The live workers as a process last read them: everybody in it who asks shares one reading a second."""

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import RedisError

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

    With 1,000 workers, one reading takes some 50 ms of a process. While Redis is away, one fails after
    seconds: who has waited for it, or asks within ``cache_s`` of its end, gets the same error at once.
    """

    def __init__(self, redis: "Redis", *, cache_s: float = CACHE_S) -> None:
        self._redis = redis
        self._cache_s = cache_s
        self._lock = threading.Lock()  # held by who reads
        self._last = _Reading([], float("-inf"))
        self._error: RedisError | None = None  # of the last reading
        self._failed_at = 0.0

    def read(self) -> list[Heartbeat]:
        """The last heartbeat of each live worker; raises `redis.RedisError`."""
        with self._lock:
            if self._error is not None and time.monotonic() - self._failed_at < self._cache_s:
                raise self._error
            if time.monotonic() - self._last.began_at >= self._cache_s:
                self._read_anew()
            return self._last.workers

    def _read_anew(self) -> None:
        began_at = time.monotonic()
        try:
            self._last, self._error = _Reading(live_workers(self._redis), began_at), None
        except RedisError as error:
            self._error, self._failed_at = error, time.monotonic()
            raise
