"""A real UNet worker that can be looked into: ``celery -A infra.bench.parts.gpu.fleet.unet_app worker``.

Nothing of it changes what the worker computes. On request, by files in its home, it traces what the GPU does
(`trace_requests`), and one pass of its UNet fails as a lost device does (`fault_requests`).
"""

from infra.bench.parts.gpu.fleet.fault_requests import fail_on_request
from infra.bench.parts.gpu.fleet.trace_requests import trace_on_request
from workers.unet.app import app, settings

__all__ = ["app"]

trace_on_request(settings.home)
fail_on_request(settings.home)
