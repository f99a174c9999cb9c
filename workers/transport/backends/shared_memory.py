"""Payloads in memory that both workers map: for workers of one host and one user. No server is involved."""

import threading

from torch import Tensor

from workers.devices.base import Device
from workers.transport.backends.base import Location, StoredPayload, TransportBackend
from workers.transport.backends.host_memory import HostMemory
from workers.transport.backends.shared_memory_pool import SharedMemoryBlock, SharedMemoryPool
from workers.transport.backends.shared_memory_reader import SharedMemoryReader
from workers.transport.protocol import StepRequest
from workers.transport.wire import tensor_over


class SharedMemoryBackend(TransportBackend):
    """This process's own segments, created at the first `put`, and its views of other processes' segments."""

    name = "shared_memory"

    def __init__(self, host: HostMemory, limit_bytes: int, lease_s: float, device: Device) -> None:
        """``limit_bytes``: size of the pool; ``lease_s``: an unread payload is given up after this long."""
        self._host = host
        self._device = device
        self._limit_bytes, self._lease_s = limit_bytes, lease_s
        self._reader = SharedMemoryReader(host.folder, device)
        self._lock = threading.Lock()
        self._pool: SharedMemoryPool | None = None

    def announce(self) -> str:
        """The token of the memory that this worker sees."""
        return self._host.token

    def can_reach(self, peer: str) -> bool:
        """Whether the other worker sees the same memory: containers of one host may not."""
        return peer == self._host.token

    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload | None:
        """Copy it into a segment of the pool; ``None`` while the pool is full."""
        with self._lock:
            if self._pool is None:
                self._pool = SharedMemoryPool(self._host, self._limit_bytes, self._lease_s, self._device)
            pool = self._pool
        written = pool.write(payload)
        if written is None:
            return None
        return StoredPayload(written.block.model_dump(), transfer=written.copy)

    def get(self, location: Location, size_bytes: int, attached: memoryview) -> Tensor | None:
        """A view of the segment, not a copy; the segment is released with the last tensor over it."""
        view = self._reader.open(SharedMemoryBlock.model_validate(location), size_bytes)
        return None if view is None else tensor_over(view)

    def discard(self, location: Location, size_bytes: int) -> None:
        """Release the segment in its reader's place."""
        block = SharedMemoryBlock.model_validate(location)
        if self._pool is None or not self._pool.release(block):
            self._reader.open(block, size_bytes)  # its view is dropped at once, which releases the segment

    def sweep(self) -> None:
        """Remove segments of dead writers, forget those mapped here, and give up what no reader released."""
        self._host.sweep()
        self._reader.drop_gone()
        with self._lock:
            if self._pool is not None:
                self._pool.reclaim()

    def warnings(self) -> list[str]:
        """That the system has lately had less shared memory than the settings allow."""
        with self._lock:
            warning = None if self._pool is None else self._pool.warning()
        return [] if warning is None else [warning]

    def close(self) -> None:
        """Remove this process's segments."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = None
