"""Kept memory for residuals on their way in. Fresh pages are slow, so buffers are used again.

The tensor is the lease: a buffer is lent as a view, the view lives as long as a tensor over it, and
when the last of them is gone, and not before, the buffer may be lent again. Nobody has to give
anything back, and nothing that is in use is ever overwritten.
"""

import mmap
import threading
import weakref
from collections import deque

#: Idle memory that is kept for the next step.
KEPT_BYTES = 512 << 20
#: Sizes are rounded up to this, so that nearly equal residuals share buffers.
GRAIN_BYTES = 64 << 10


class BufferPool:
    """Idle buffers, oldest first; safe to use from several threads."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._idle: list[mmap.mmap] = []
        # Views end wherever the last tensor is dropped, also under the lock: this needs none.
        self._returned: deque[mmap.mmap] = deque()

    def lend(self, size_bytes: int) -> memoryview:
        """Memory of this size, until nothing refers to the view any more."""
        room = max(-(-size_bytes // GRAIN_BYTES), 1) * GRAIN_BYTES
        buffer = self._take(room)
        view = memoryview(buffer)[:size_bytes]
        weakref.finalize(view, self._returned.append, buffer).atexit = False
        return view

    def _take(self, room: int) -> mmap.mmap:
        with self._lock:
            while self._returned:
                self._idle.append(self._returned.popleft())
            for i in reversed(range(len(self._idle))):
                if len(self._idle[i]) == room:
                    return self._idle.pop(i)
            kept = sum(map(len, self._idle))
            while self._idle and kept > self._kept_bytes:
                kept -= len(self._idle.pop(0))
        fresh = mmap.mmap(-1, room)
        fresh.madvise(mmap.MADV_HUGEPAGE)
        return fresh
