"""A real ControlNet worker on a device that sleeps: ``celery -A infra.bench.timed.controlnet_app worker``."""

from infra.bench.timed.device import simulate_device
from workers.controlnet.app import app

__all__ = ["app"]

simulate_device()
