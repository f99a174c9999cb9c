"""Measures when a device does its work: by events, which are read once they have happened.

On a GPU work is submitted long before it is done, and nobody waits for that only to measure it.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from workers.devices.base import Clock, Device, Event

#: A clock is used for so long: it drifts against the machine's, and its numbers have few digits.
CLOCK_S = 60.0


class SpanStart(NamedTuple):
    """Where work of the device begins."""

    clock: Clock
    event: Event


class DeviceSpan(NamedTuple):
    """Work of the device between two events of a clock; its times are known once ``end`` has happened."""

    clock: Clock
    start: Event
    end: Event

    @property
    def start_s(self) -> float:
        """When it began, in seconds since the epoch."""
        return self.clock.time_s(self.start)

    @property
    def end_s(self) -> float:
        """When it ended, in seconds since the epoch."""
        return self.clock.time_s(self.end)


class DeviceTimer:
    """Times work that one thread submits."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._clock: Clock | None = None
        self._clock_started_at = 0.0
        self._spans: deque[tuple[DeviceSpan, Callable[[DeviceSpan], object]]] = deque()  # as they end

    def start(self) -> SpanStart:
        """What is submitted from now on belongs to the span."""
        now = time.monotonic()
        if self._clock is None or now - self._clock_started_at > CLOCK_S:
            with self._device.on_stream("in"):  # beside the computation, for which it would wait
                self._clock = self._device.start_clock()
            self._clock_started_at = now
        return SpanStart(self._clock, self._device.record())

    def end(self, start: SpanStart) -> DeviceSpan:
        """All that was submitted since then, up to now."""
        return DeviceSpan(start.clock, start.event, self._device.record())

    def when_done(self, span: DeviceSpan, report: Callable[[DeviceSpan], object]) -> None:
        """Call ``report`` once the device has come to the end: now, or at one of the next calls."""
        self._spans.append((span, report))
        self.report_done()

    def report_done(self) -> None:
        """Report the spans that have ended."""
        while self._spans and self._spans[0][0].end.is_done:
            span, report = self._spans.popleft()
            report(span)

    def report_all(self) -> None:
        """Report all spans; waits for the device to end them."""
        if self._spans:
            self._spans[-1][0].end.wait()
        self.report_done()
