"""The timeline of a job: named spans, in seconds since the epoch."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from shared.jobs.record import Span

#: Shorter waits are not worth a bar in the timeline.
MIN_WAIT_SHOWN_S = 0.0005


class Timeline:
    """Collects the spans of one attempt."""

    def __init__(self, worker: str, *, behind_s: float = 0.0) -> None:
        """``behind_s``: how far this machine's clock is behind the one of Redis, whose times a job has."""
        self.spans: list[Span] = []
        #: For how long devices have worked on this attempt: this worker's, and those of others that it asked.
        self.device_s = 0.0
        self.steps_s: list[float] = []  # how long each step of this attempt took
        self.worker = worker
        self.behind_s = behind_s

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Measure the block."""
        start = time.time()
        try:
            yield
        finally:
            self.add(name, start, time.time())

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Count the block as time of this worker's device."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.device_s += time.monotonic() - start

    def add_wait(self, name: str, start_s: float, end_s: float, *, residual: int | None = None) -> None:
        """Add a wait, unless it is too short to be shown; ``residual``: see `Span`."""
        if end_s - start_s > MIN_WAIT_SHOWN_S:
            self.add(name, start_s, end_s, residual=residual)

    def add(
        self,
        name: str,
        start_s: float,
        end_s: float,
        worker: str | None = None,
        counts: Mapping[str, int] | None = None,
        *,
        residual: int | None = None,
    ) -> None:
        """Add a span that was measured elsewhere, by this machine's clock."""
        if worker not in (None, self.worker):
            self.device_s += max(end_s - start_s, 0.0)
        begin_s, stop_s = start_s + self.behind_s, end_s + self.behind_s
        self.add_known(name, begin_s, stop_s, worker or self.worker, counts, residual=residual)

    def add_known(
        self,
        name: str,
        start_s: float,
        end_s: float,
        worker: str,
        counts: Mapping[str, int] | None = None,
        *,
        residual: int | None = None,
    ) -> None:
        """Add a span by Redis' clock."""
        counted = dict(counts or {})
        self.spans.append(
            Span(name=name, start_s=start_s, end_s=end_s, worker=worker, counts=counted, residual=residual)
        )
