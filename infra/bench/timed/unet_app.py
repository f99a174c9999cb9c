"""A real UNet worker on a device that sleeps: ``celery -A infra.bench.timed.unet_app worker``."""

from infra.bench.timed.device import be_unet_device
from workers.unet.app import app

__all__ = ["app"]

be_unet_device()
