"""Counts the residuals of the last minute: which worker has sent them, and which backend has carried them."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

WINDOW_S = 60.0
#: Counts are forgotten together for so long: a residual is not worth an entry of its own.
SLICE_S = 5.0


class ReceivedCounts:
    """What one worker has received; safe to use from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._slices: deque[tuple[float, Counter[tuple[str, str]]]] = deque()  # by when they began

    def add(self, worker: str, backend: str) -> None:
        """A residual has come from ``worker`` by ``backend``."""
        now = self._now()
        with self._lock:
            if not self._slices or now - self._slices[-1][0] >= SLICE_S:
                self._slices.append((now, Counter()))
            self._slices[-1][1][worker, backend] += 1
            self._forget(now)

    def last_minute(self) -> dict[str, dict[str, int]]:
        """Residuals by worker and backend."""
        found: dict[str, dict[str, int]] = {}
        with self._lock:
            self._forget(self._now())
            total = sum((counts for _, counts in self._slices), Counter[tuple[str, str]]())
        for (worker, backend), count in sorted(total.items()):
            found.setdefault(worker, {})[backend] = count
        return found

    def _forget(self, now: float) -> None:
        while self._slices and now - self._slices[0][0] > WINDOW_S:
            self._slices.popleft()
