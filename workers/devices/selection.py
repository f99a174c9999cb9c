"""The one `Device` object of each device that this process computes on."""

from functools import cache

import torch

from workers.devices.base import Device
from workers.devices.cpu import CPUDevice
from workers.devices.cuda import CUDADevice


def find_device(torch_device: torch.device | str) -> Device:
    """The object for a device, the same at every call: it owns the device's side streams."""
    found = torch.device(torch_device)
    return _device(found.type, found.index or 0)


@cache
def _device(kind: str, index: int) -> Device:
    return CUDADevice(torch.device(kind, index)) if kind == "cuda" else CPUDevice(torch.device(kind))
