"""A writer and a reader of the backend in one process, over slabs in the host's memory."""

import torch
from torch import Tensor

from tests.workers.transport.backends.cuda_ipc.peer import payload
from tests.workers.transport.backends.host_slabs import HostSlabs
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.transport.backends.cuda_ipc import segment
from workers.transport.backends.cuda_ipc.location import DeviceSlot
from workers.transport.backends.cuda_ipc.pool import SlotPool
from workers.transport.backends.cuda_ipc.reader import SlabReader
from workers.transport.backends.host_memory import HostMemory

CPU = find_device("cpu")
KB = 1 << 10
GRANULE = segment.GRANULE_BYTES


class Ends:
    """A writer and a reader, over slabs in the host's memory."""

    def __init__(
        self, host: HostMemory, *, limit_bytes: int = 8 * GRANULE, lease_s: float = 60.0, device: Device = CPU
    ) -> None:
        self.slabs, self.theirs = HostSlabs(host.folder), HostSlabs(host.folder)
        self.folder = host.make_worker_folder()
        self.pool = SlotPool(self.slabs, CPU, self.folder, limit_bytes, lease_s)
        self.failures: list[tuple[str, str]] = []
        self.reader = SlabReader(self.theirs, device, host.folder, lambda *why: self.failures.append(why))

    def write(self, seed: int, size_bytes: int = KB, reader: str = "reader") -> DeviceSlot | None:
        written = self.pool.write(payload(seed, size_bytes), reader)
        return None if written is None else written.slot

    def sent(self, seed: int, size_bytes: int = KB) -> DeviceSlot:
        slot = self.write(seed, size_bytes)
        assert slot is not None
        return slot

    def read(self, slot: DeviceSlot, size_bytes: int = KB) -> Tensor | None:
        """The payload, if its copy counts."""
        copy = self.reader.copy(slot, size_bytes)
        return copy.payload if copy is not None and copy.confirm() else None

    def arrives(self, slot: DeviceSlot, seed: int, size_bytes: int = KB) -> bool:
        received = self.read(slot, size_bytes)
        return received is not None and torch.equal(received, payload(seed, size_bytes))


def alive(name: str) -> bool:
    return True
