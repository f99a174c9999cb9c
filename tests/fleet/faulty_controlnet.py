"""The real app of ControlNet workers, on a device that fails once: see `tests.fleet.failing_device`."""

from tests.fleet.failing_device import fail_once
from workers.controlnet.app import app

__all__ = ["app"]

fail_once()
