"""The one `Device` object of each device that this process computes on."""

from functools import cache

import torch

from workers.devices.base import Device
from workers.devices.cuda import CUDADevice
from workers.devices.streamless import CPUDevice, MPSDevice


def find_device(torch_device: torch.device | str) -> Device:
    """The object for a device, the same at every call: it owns the device's side streams."""
    found = torch.device(torch_device)
    return _device(found.type, found.index or 0)


@cache
def _device(kind: str, index: int) -> Device:
    if kind == "cuda":
        return CUDADevice(torch.device(kind, index))
    return MPSDevice(torch.device(kind)) if kind == "mps" else CPUDevice(torch.device(kind))
