"""A real UNet worker on a device that sleeps: ``celery -A infra.bench.timed.unet_app worker``."""

from infra.bench.timed.device import simulate_device
from workers.unet.app import app

__all__ = ["app"]

simulate_device()
