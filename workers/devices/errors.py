"""What an error of torch says of the device: it is lost, it is full, or neither."""

import torch

from shared.errors import DeviceFull, DeviceLost, SwiftError
from workers.devices.base import Device

#: How the CPU's allocator, and libraries that allocate beside torch's, say that there is no memory.
_FULL = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def device_error(error: BaseException, device: Device) -> SwiftError | None:
    """`DeviceLost` or `DeviceFull` in place of an error that a computation raised; ``None`` for any other.

    After a failed assertion on the device, or an illegal access, every further call fails alike, whatever it
    is about. So after an error that nobody raised on purpose the device is asked: others, such as too large a
    grid, concern one call alone.
    """
    if isinstance(error, DeviceFull | DeviceLost):
        return error
    if isinstance(error, SwiftError) or not isinstance(error, Exception):
        return None
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    is_torch = isinstance(error, RuntimeError)
    if isinstance(error, torch.OutOfMemoryError) or (is_torch and any(words in text for words in _FULL)):
        return DeviceFull(f"{device.torch_device} has too little memory: {text}")
    if device.is_lost(error):
        return DeviceLost(f"{device.torch_device} is lost: {text}")
    return None
