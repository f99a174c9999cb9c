"""Tells a thread that waits for a Redis server from one that waits for its device."""

import threading
from collections import Counter
from types import TracebackType


class RedisWaits:
    """Within ``with redis_waits:`` a thread waits for a Redis server and for nothing else."""

    def __init__(self) -> None:
        self._threads: Counter[int] = Counter()
        self._lock = threading.Lock()

    def includes(self, thread: threading.Thread) -> bool:
        """Whether this thread waits now."""
        with self._lock:
            return thread.ident is not None and self._threads[thread.ident] > 0

    def __enter__(self) -> None:
        with self._lock:
            self._threads[threading.get_ident()] += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread = threading.get_ident()
        with self._lock:
            self._threads[thread] -= 1
            if not self._threads[thread]:
                del self._threads[thread]
