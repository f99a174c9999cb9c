"""A real ControlNet worker on a device that sleeps: ``celery -A infra.bench.timed.controlnet_app worker``."""

from infra.bench.timed.device import be_controlnet_device
from workers.controlnet.app import app

__all__ = ["app"]

be_controlnet_device()
