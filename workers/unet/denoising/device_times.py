"""Adds the device's work in the loop to the timeline of an attempt, once the device has done it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workers.devices.base import Device
from workers.devices.timer import DeviceTimer, SpanStart
from workers.unet.timeline import Timeline

#: Given when something began and when it ended, in seconds since the epoch.
Report = Callable[[float, float], None]


class DeviceTimes:
    """Tells when the device came to points of one attempt's work; the loop never waits for that."""

    def __init__(self, device: Device, timeline: Timeline) -> None:
        self._timeline = timeline
        self._timer = DeviceTimer(device)

    def mark(self) -> SpanStart:
        """The point to which work has been submitted by now."""
        return self._timer.start()

    def measure(self, start: SpanStart, report: Report) -> None:
        """Call ``report`` once the device has come to what is submitted by now: at once on a CPU."""
        self._timer.when_done(self._timer.end(start), lambda span: report(span.start_s, span.end_s))

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Add the time that the device spends on the block to the timeline."""
        start = self.mark()
        try:
            yield
        finally:
            self.add(name, start)

    def add(self, name: str, start: SpanStart) -> None:
        """Add the time since ``start`` to the timeline."""
        self.measure(start, lambda start_s, end_s: self._timeline.add(name, start_s, end_s))

    def add_wait(self, name: str, start: SpanStart, *, residual: int | None = None) -> None:
        """Add the time since ``start`` to the timeline, if the device had to wait then; see `Timeline`."""

        def report(start_s: float, end_s: float) -> None:
            self._timeline.add_wait(name, start_s, end_s, residual=residual)

        self.measure(start, report)

    def report_done(self) -> None:
        """Report what has ended."""
        self._timer.report_done()

    def report_all(self) -> None:
        """Report everything that was measured; waits for the device to end it."""
        self._timer.report_all()
