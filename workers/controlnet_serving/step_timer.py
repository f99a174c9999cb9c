"""Measures on the device when steps are computed, without waiting for it.

On a GPU a step is submitted long before it is computed. So its times are those of events, and are known once
the device has come to them.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from workers.devices.base import Clock, Device, Event

#: A clock is used for so long: it drifts against the machine's, and its numbers have few digits.
CLOCK_S = 60.0
#: Steps that may be submitted and not computed yet: the device is busy while the next one is submitted. With
#: more, this worker would claim steps that another one could begin, and that others could still join.
MAX_SUBMITTED = 2


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


class StepTimer:
    """Times the steps that one thread submits."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._clock: Clock | None = None
        self._clock_started_at = 0.0
        self._submitted: deque[tuple[DeviceSpan, Callable[[DeviceSpan], None]]] = deque()

    def start(self) -> SpanStart:
        """What is submitted from now on belongs to the step."""
        now = time.monotonic()
        if self._clock is None or now - self._clock_started_at > CLOCK_S:
            with self._device.on_stream("in"):  # beside the computation, for which it would wait
                self._clock = self._device.start_clock()
            self._clock_started_at = now
        return SpanStart(self._clock, self._device.record())

    def end(self, start: SpanStart) -> DeviceSpan:
        """All that was submitted since then, up to now."""
        return DeviceSpan(start.clock, start.event, self._device.record())

    def when_done(self, step: DeviceSpan, record: Callable[[DeviceSpan], None]) -> None:
        """Call ``record`` once the device has computed the step: now, or at one of the next calls."""
        self._submitted.append((step, record))
        self.poll()

    def poll(self) -> None:
        """Record the steps that the device has computed."""
        while self._submitted and self._submitted[0][0].end.is_done:
            self._record_first()

    def wait_for_room(self) -> None:
        """Wait until another step may be submitted."""
        self.poll()
        while len(self._submitted) >= MAX_SUBMITTED:
            self._submitted[0][0].end.wait()
            self._record_first()

    def _record_first(self) -> None:
        step, record = self._submitted.popleft()
        record(step)
