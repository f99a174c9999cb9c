"""What a ControlNet server shares with the rest of its process: the device, and who guards it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from workers.devices.selection import find_device
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_loss import DeviceLoss
from workers.runtime.watchdog import Watchdog


class StepTurns(Protocol):
    """Decides whether the device is free for a step, one at a time."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until steps may be served; returns whether they may."""

    def step(self) -> AbstractContextManager[bool]:
        """Within the block no other work begins on the device; ``False``: no step may be served now."""


class AllTurns:
    """For a process that does nothing but serve."""

    def wait(self, timeout_s: float) -> bool:
        """Steps may always be served."""
        return True

    def step(self) -> AbstractContextManager[bool]:
        """Steps wait for nothing but each other."""
        return nullcontext(True)


@dataclass(frozen=True, kw_only=True)
class ServerHost:
    """The process of a ControlNet server."""

    turns: StepTurns = field(default_factory=AllTurns)
    #: Whether a ControlNet is loaded for a step that asks for it; else only loaded ones are served.
    loads_for_steps: bool = True
    activity: DeviceActivity = field(default_factory=DeviceActivity)
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(0.0))  # not started: it ends nothing
    device_loss: DeviceLoss = field(default_factory=lambda: DeviceLoss(find_device("cpu")))
