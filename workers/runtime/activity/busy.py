"""When a device was busy with one activity: inside ``with busy:``, or as added afterwards."""

import threading
import time
from collections import deque
from itertools import takewhile
from types import TracebackType

#: So long spans are remembered.
WINDOW_S = 60.0
#: Shorter gaps are not noticed: the parts of one step become one span.
GAP_S = 0.001
#: Start and end, as `time.monotonic` says.
Span = tuple[float, float]


class BusyShare:
    """Measures the time spent inside ``with busy:``; what overlaps counts once."""

    def __init__(self, created_at: float | None = None) -> None:
        """``created_at``: since when it measures (`time.monotonic`)."""
        self.created_at = time.monotonic() if created_at is None else created_at
        self._spans: deque[Span] = deque()
        self._since = 0.0
        self._inside = 0
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
                self._append((self._since, time.monotonic()))

    def add(self, start_s: float, end_s: float) -> None:
        """The device was busy from then to then, in seconds since the epoch, though nobody waited for it."""
        offset_s = time.monotonic() - time.time()
        with self._lock:
            self._append((start_s + offset_s, end_s + offset_s))

    @property
    def is_inside(self) -> bool:
        """Whether a ``with busy:`` runs now."""
        return self._inside > 0

    def ended_since(self, time_s: float) -> bool:
        """Whether it is busy, or was after ``time_s`` (`time.monotonic`)."""
        with self._lock:
            return self._inside > 0 or bool(self._spans and self._spans[-1][1] > time_s)

    def spans(self, since: float) -> list[Span]:
        """The spans that ended after ``since``, the one that lasts included; they may overlap."""
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            found = list(takewhile(lambda span: span[1] > since, reversed(self._spans)))
            return [(self._since, now), *found] if self._inside else found

    def _append(self, span: Span) -> None:
        if self._spans and 0 <= span[0] - self._spans[-1][1] <= GAP_S:
            span = (self._spans.pop()[0], span[1])
        self._spans.append(span)
        self._forget(time.monotonic())

    def _forget(self, now: float) -> None:
        while self._spans and self._spans[0][1] < now - WINDOW_S:
            self._spans.popleft()
