"""Buffers into which payloads are received. They are used again, because fresh pages are slow, and are
registered with the device, which copies out of them by itself.

A tensor over a buffer is its lease: a buffer is lent as a view, which lives as long as any tensor over it.
When the last of them is gone, and not before, the buffer may be lent again. So nobody has to give anything
back, and nothing in use is ever overwritten.
"""

import mmap
import threading
import weakref
from collections import deque

from workers.devices.base import Device
from workers.transport.backends.registered_memory import RegisteredMemory

#: Idle memory that is kept for the next step, at least.
KEPT_BYTES = 512 << 20
#: Sizes are rounded up to this, so that nearly equal payloads share buffers.
GRAIN_BYTES = 64 << 10


class BufferPool:
    """Idle buffers, oldest first; safe to use from several threads."""

    def __init__(self, device: Device, kept_bytes: int = KEPT_BYTES) -> None:
        self._device = device
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._idle: list[RegisteredMemory] = []
        # A view may end anywhere, also in a thread that holds the lock: appending here needs no lock.
        self._returned: deque[RegisteredMemory] = deque()

    def lend(self, size_bytes: int) -> memoryview:
        """Memory of this size, until nothing refers to the view any more."""
        buffer_bytes = max(-(-size_bytes // GRAIN_BYTES), 1) * GRAIN_BYTES
        buffer = self._take(buffer_bytes)
        view = memoryview(buffer.mapping)[:size_bytes]
        weakref.finalize(view, self._returned.append, buffer).atexit = False
        return view

    def _take(self, buffer_bytes: int) -> RegisteredMemory:
        with self._lock:
            while self._returned:
                self._idle.append(self._returned.popleft())
            for i in reversed(range(len(self._idle))):
                if len(self._idle[i].mapping) == buffer_bytes:
                    return self._idle.pop(i)
            kept = sum(len(buffer.mapping) for buffer in self._idle)
            while self._idle and kept > self._kept_bytes:
                kept -= len(self._idle.pop(0).mapping)
        fresh = mmap.mmap(-1, buffer_bytes)
        fresh.madvise(mmap.MADV_HUGEPAGE)
        return RegisteredMemory(fresh, self._device)
