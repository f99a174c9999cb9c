"""A real ControlNet worker on a device that sleeps: ``celery -A infra.bench.timed.net_app worker``."""

from infra.bench.timed.device import be_net_device
from workers.controlnet.app import app

__all__ = ["app"]

be_net_device()
