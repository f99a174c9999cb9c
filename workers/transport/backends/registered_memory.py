"""Mapped memory of the host from and to which the device copies at full rate."""

import mmap
import weakref

import torch

from workers.devices.base import Device


class RegisteredMemory:
    """A mapping that is registered with the device for as long as anything refers to this object.

    Who hands out views of it must keep it for them, and for the copies of the device out of them.
    """

    def __init__(self, mapping: mmap.mmap, device: Device) -> None:
        self.mapping = mapping
        address = torch.frombuffer(mapping, dtype=torch.uint8).data_ptr()
        if device.register(address, len(mapping)):
            # Called before the mapping ends: that is when its last reference is gone, which is ours.
            weakref.finalize(self, device.unregister, address).atexit = False
