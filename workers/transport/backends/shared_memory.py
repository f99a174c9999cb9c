"""The shared-memory rung as the outbox sees it: a pool that is made when it is first needed, if it may be."""

import threading

from torch import Tensor

from shared import metrics
from shared.settings import Settings
from workers.transport.backends.host_memory import HostMemory
from workers.transport.backends.shared_memory_pool import SharedMemoryPool
from workers.transport.protocol import SharedMemoryBlock, StepRequest


class SharedMemoryWriter:
    """Blocks of shared memory; safe to use from several threads."""

    def __init__(self, host: HostMemory | None, settings: Settings) -> None:
        self._host = host
        self._limit_bytes, self._lease_s = settings.shared_memory_bytes, settings.residual_ttl_s
        self._lock = threading.Lock()
        self._segments: SharedMemoryPool | None = None

    def write(self, request: StepRequest, coded: Tensor) -> SharedMemoryBlock | None:
        """Into shared memory, if the asking worker sees ours and there is room."""
        if self._host is None or request.shared_memory != self._host.token:
            return None
        with self._lock:
            if self._segments is None:
                self._segments = SharedMemoryPool(self._host, self._limit_bytes, self._lease_s)
            segments = self._segments
        block = segments.write(coded)
        if block is None:
            metrics.SHARED_MEMORY_FULL.inc()
        return block

    def take_back(self, block: SharedMemoryBlock) -> None:
        """Release a block that nobody will read."""
        with self._lock:
            if self._segments is not None:
                self._segments.take_back(block)

    def reclaim(self) -> None:
        """Let go of memory that no reader has released within the lease."""
        with self._lock:
            if self._segments is not None:
                self._segments.reclaim()

    def shut(self) -> None:
        """Give everything back."""
        with self._lock:
            if self._segments is not None:
                self._segments.close()
                self._segments = None
