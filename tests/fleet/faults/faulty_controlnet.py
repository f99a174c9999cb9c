"""The real app of ControlNet workers, on a device that fails once: see `failing_device`."""

from tests.fleet.faults.failing_device import fail_once
from workers.controlnet.app import app

__all__ = ["app"]

fail_once()
