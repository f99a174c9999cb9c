"""Devices without side streams: the CPU, and Apple GPUs (``mps``), whose copies are torch's own and wait."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from workers.devices.base import Clock, Device, Event, HostCopy, MemoryInfo, SideStream


class PastEvent(Event):
    """It has happened when it is recorded."""

    def __init__(self) -> None:
        self.time_s = time.time()

    @property
    def is_done(self) -> bool:
        """See `Event`."""
        return True

    def wait(self) -> None:
        """See `Event`."""


class HostClock(Clock):
    """Events know the time by themselves."""

    def time_s(self, event: Event) -> float:
        """See `Clock`."""
        assert isinstance(event, PastEvent), "an event of another device"
        return event.time_s


class StreamlessDevice(Device):
    """See `Device`; right on every device of torch, as long as a copy to the host waits for what it copies.

    On an asynchronous device its events, and so all times, are those of submitting work.
    """

    @contextmanager
    def on_stream(self, name: SideStream) -> Iterator[None]:
        """See `Device`: there is one."""
        yield

    def record(self) -> Event:
        """See `Device`."""
        return PastEvent()

    def follow(self, event: Event) -> None:
        """See `Device`."""

    def record_stream(self, tensor: Tensor) -> None:
        """See `Device`: there is one stream."""

    def synchronize(self) -> None:
        """See `Device`; for a device that does its work when it is called."""

    def start_clock(self) -> Clock:
        """See `Device`."""
        return HostClock()

    def non_blocking(self) -> AbstractContextManager[object]:
        """See `Device`: nothing is replaced."""
        return nullcontext()

    def to_host(self, tensor: Tensor, into: Tensor | None = None) -> HostCopy:
        """See `Device`."""
        return HostCopy(tensor.cpu() if into is None else into.copy_(tensor), PastEvent())

    def from_host(self, tensor: Tensor) -> Tensor:
        """See `Device`."""
        return tensor.to(self.torch_device)

    def pinned(self, size_bytes: int) -> Tensor:
        """See `Device`."""
        return torch.empty(size_bytes, dtype=torch.uint8)

    def register(self, address: int, size_bytes: int) -> bool:
        """See `Device`: nothing to do."""
        return True

    def unregister(self, address: int) -> None:
        """See `Device`."""

    def memory(self) -> MemoryInfo | None:
        """See `Device`."""
        return None

    def release_cached(self) -> None:
        """See `Device`."""

    def collect(self) -> None:
        """See `Device`."""

    def is_lost(self, error: Exception | None = None) -> bool:
        """See `Device`: it cannot be asked, so an error of the accelerator is taken for its loss."""
        return isinstance(error, torch.AcceleratorError)

    def loading(self) -> AbstractContextManager[object]:
        """See `Device`."""
        return nullcontext()

    def describe(self) -> dict[str, str]:
        """See `Device`: devices of one kind compute alike, and others hardly differ."""
        return {}


class CPUDevice(StreamlessDevice):
    """The CPU: work is done when its call returns."""


class MPSDevice(StreamlessDevice):
    """An Apple GPU, which works on while the host goes on: its events say when work was submitted."""

    @property
    def sums_in_float32(self) -> bool:
        """See `Device`; nobody says so of it."""
        return False

    def synchronize(self) -> None:
        """See `Device`."""
        torch.mps.synchronize()

    def release_cached(self) -> None:
        """See `Device`."""
        torch.mps.empty_cache()
