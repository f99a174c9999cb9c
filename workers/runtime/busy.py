"""How busy a device is: the share of the last minute spent inside ``with busy:``, or added afterwards."""

import threading
import time
from collections import deque
from types import TracebackType

WINDOW_S = 60.0


class BusyShare:
    """Measures the time spent inside ``with busy:``; what overlaps counts once."""

    def __init__(self, created_at: float | None = None) -> None:
        """``created_at``: since when it measures (`time.monotonic`)."""
        self._spans: deque[tuple[float, float]] = deque()
        self._since = 0.0
        self._inside = 0
        self._created_at = time.monotonic() if created_at is None else created_at
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._since = time.monotonic()
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._spans.append((self._since, time.monotonic()))
                self._forget(time.monotonic() - WINDOW_S)

    def add(self, start_s: float, end_s: float) -> None:
        """The device was busy from then to then, in seconds since the epoch, though nobody waited for it."""
        offset_s = time.monotonic() - time.time()
        with self._lock:
            self._spans.append((start_s + offset_s, end_s + offset_s))

    def share(self) -> float:
        """0 to 1, over the last minute or since the start."""
        now = time.monotonic()
        begin = max(self._created_at, now - WINDOW_S)
        with self._lock:
            self._forget(begin)
            spans = [*self._spans, (self._since, now)] if self._inside else list(self._spans)
        busy, until = 0.0, begin
        for start, end in sorted(spans):
            busy += max(end - max(start, until), 0.0)
            until = max(until, end)
        return round(min(busy / max(now - begin, 1e-6), 1.0), 4)

    def _forget(self, before: float) -> None:
        while self._spans and self._spans[0][1] < before:
            self._spans.popleft()
