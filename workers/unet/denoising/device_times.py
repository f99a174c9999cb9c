"""Measures the work of the device in the loop: from events, which are read once they have happened."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from workers.devices.base import Device, Event
from workers.unet.timeline import Timeline

#: Given when something began and when it ended, in seconds since the epoch.
Report = Callable[[float, float], None]


class _Measurement(NamedTuple):
    """Two points of the device's work, and who wants to know when it came to them."""

    start: Event
    end: Event
    report: Report


class DeviceTimes:
    """Tells when the device came to points of one attempt's work; the loop never waits for that."""

    def __init__(self, device: Device, timeline: Timeline) -> None:
        self._device, self._timeline = device, timeline
        self._clock = device.start_clock()
        self._measurements: deque[_Measurement] = deque()  # in the order of their ends

    def mark(self) -> Event:
        """The point to which work has been submitted by now."""
        return self._device.record()

    def measure(self, start: Event, report: Report) -> None:
        """Call ``report`` once the device has come to what is submitted by now: at once on a CPU."""
        self._measurements.append(_Measurement(start, self._device.record(), report))
        self.report_done()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Add the time that the device spends on the block to the timeline."""
        start = self.mark()
        try:
            yield
        finally:
            self.measure(start, lambda start_s, end_s: self._timeline.add(name, start_s, end_s))

    def add_wait(self, name: str, start: Event) -> None:
        """Add the time since ``start`` to the timeline, if the device had to wait for something then."""
        self.measure(start, lambda start_s, end_s: self._timeline.add_wait(name, start_s, end_s))

    def report_done(self) -> None:
        """Report what has ended."""
        while self._measurements and self._measurements[0].end.is_done:
            done = self._measurements.popleft()
            done.report(self._clock.time_s(done.start), self._clock.time_s(done.end))

    def report_all(self) -> None:
        """Report everything that was measured; waits for the device to end it."""
        if self._measurements:
            self._measurements[-1].end.wait()
        self.report_done()
