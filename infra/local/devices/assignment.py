"""Which device each worker of the stack computes on, and what its process is told about it."""

import os
from collections.abc import Mapping

from shared.registry.workers import WorkerKind
from shared.setting_checks.errors import PREFIX
from shared.settings import Settings
from workers.devices.visible import ONLY, VARIABLE, is_gpu, show_only


def worker_devices(settings: Settings) -> Mapping[WorkerKind, tuple[str, ...]]:
    """The device of each worker process, by kind, as the operator calls it."""
    return {
        "unet": settings.unet_devices or (settings.device,) * _unet_workers(settings),
        "controlnet": settings.controlnet_devices or (settings.device,) * settings.controlnet_workers,
    }


def _unet_workers(settings: Settings) -> int:
    """Two on a CPU with the cores for them: an idle one serves ControlNets for the other's job."""
    if settings.unet_workers is not None:
        return settings.unet_workers
    return 2 if settings.device == "cpu" and len(os.sched_getaffinity(0)) > 1 else 1


def device_environment(device: str, visible: str | None, sharing: int = 1) -> dict[str, str]:
    """The variables of a worker's process: it sees its own GPU alone, by whatever name.

    ``visible`` is this process' ``CUDA_VISIBLE_DEVICES``; ``sharing``: the workers of this device.
    """
    if not is_gpu(device):
        return {f"{PREFIX}DEVICE": device}
    return {
        f"{PREFIX}DEVICE": ONLY,
        f"{PREFIX}DEVICE_NAME": device,
        f"{PREFIX}WORKERS_PER_DEVICE": str(sharing),
        VARIABLE: show_only(device, visible),
    }
