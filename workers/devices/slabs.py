"""Memory of a device that other processes can open by a handle."""

from abc import ABC, abstractmethod

from torch import Tensor


class SlabError(Exception):
    """The device's driver refused; other ways to move tensors are not affected."""


class Slab(ABC):
    """Memory that this process has allocated, or has opened; no copy may use it when it is closed."""

    #: ``uint8``, ``(size_bytes,)``. Torch's allocator does not know it: `Tensor.record_stream` does nothing.
    memory: Tensor

    @abstractmethod
    def close(self) -> None:
        """Free or unmap it; never raises. What was allocated must not be open elsewhere any more."""


class OwnSlab(Slab):
    """A slab of this process."""

    #: Opens it in another process of this machine.
    handle: bytes


class DeviceSlabs(ABC):
    """Allocates slabs on one device, and opens those of other processes. Safe to use from several threads."""

    #: How long a handle is.
    handle_bytes: int

    @abstractmethod
    def allocate(self, size_bytes: int) -> OwnSlab | None:
        """Memory that can be opened elsewhere; ``None`` if the device has too little. Raises `SlabError`."""

    @abstractmethod
    def open(self, handle: bytes, size_bytes: int) -> Slab:
        """A slab of ``size_bytes`` bytes of another process, or of this one, until it is closed.

        Raises `SlabError` for a handle that is not valid (any more), or that this device cannot reach.
        """
