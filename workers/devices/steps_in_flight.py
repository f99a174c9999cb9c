"""Bounds how far a thread runs ahead of the device: by two steps.

Submitting a step takes a fraction of the time that the device needs for it. Without a bound the loop of a job
would submit all steps at once, and a cancel would come too late; and a ControlNet worker would claim steps
that another one could begin, and that others could still join.
"""

from collections import deque

from workers.devices.base import Device, Event

#: Enough that the device always has the next step before it ends one.
MOST = 2


class StepsInFlight:
    """The steps that were submitted to the device and may not be done; on a CPU there are none."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._ends: deque[Event] = deque()

    def wait_for_room(self) -> None:
        """Wait until one step more may be submitted; called before each."""
        while len(self._ends) >= MOST:
            self._ends.popleft().wait()

    def add(self) -> None:
        """A step has been submitted."""
        self._ends.append(self._device.record())
