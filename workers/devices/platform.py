"""Describes what decides the last bits of what this process computes: for receipts and queues."""

import platform
from functools import cache
from importlib.metadata import version

import torch

from shared.jobs.receipt import Platform
from workers.devices.base import Device

#: Their code decides the bits.
LIBRARIES = ("swiftdiffusion", "torch", "diffusers", "transformers", "peft")


def describe_platform(device: Device) -> Platform:
    """The platform of this process, which computes on ``device``."""
    return Platform(
        device=device.torch_device.type,
        threads=torch.get_num_threads(),
        versions=_versions(),
        accelerator=device.describe(),
        processor=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    )


@cache
def _versions() -> dict[str, str]:
    """Read once: an installation that is changed meanwhile changes no running process."""
    return {library: version(library) for library in LIBRARIES}
