"""The shared-memory rung, writer's side: kept segments, one residual in each, used again and again.

A segment is a file in the writer's folder: a header, then the residual's bytes. The reader releases it
by writing its generation back into the header, without a message. What is not released within the
lease is abandoned: its file is removed and never written again, so a reader that still looks at it is
safe (mapped memory outlives its file) and the memory is free when the last of the two lets go.

``magic (8) | generation (8) | released generation (8) | … | bytes, from `DATA` on``
"""

import mmap
import os
import struct
import threading
import time
import weakref
from pathlib import Path

import torch
from torch import Tensor

from workers.transport.backends.host_memory import HostMemory
from workers.transport.protocol import SharedMemoryBlock

MAGIC = b"SDSEG001"
GENERATION, RELEASED = 8, 16
#: Where the residual begins: on a page of its own.
DATA = 4096
#: Sizes are rounded up to this, so that nearly equal residuals share segments.
GRAIN_BYTES = 64 << 10
_WORD = struct.Struct("<Q")


class SharedMemorySegment:
    """One mapped file, on the writer's side."""

    def __init__(self, path: Path, name: str, room_bytes: int) -> None:
        """Reserve the memory; raises `OSError` when the system has not so much left."""
        self.path, self.name, self.room_bytes = path, name, room_bytes
        self.generation = 0
        self.lent_at = 0.0
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Now, or the first write to a page that cannot be had would kill the process.
            os.posix_fallocate(file, 0, DATA + room_bytes)
            self._memory = mmap.mmap(file, DATA + room_bytes)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(file)
        self._memory[: len(MAGIC)] = MAGIC
        self._bytes = torch.frombuffer(self._memory, dtype=torch.uint8, offset=DATA)

    def begin(self) -> int:
        """Take the segment for a new generation; returns its number."""
        self.generation += 1
        self.lent_at = time.monotonic()
        _WORD.pack_into(self._memory, GENERATION, self.generation)
        return self.generation

    def fill(self, tensor: Tensor) -> None:
        """Copy ``tensor`` in, from whatever device."""
        self._bytes[: tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)

    @property
    def is_released(self) -> bool:
        """Whether the reader of this generation is done with it."""
        return bool(_WORD.unpack_from(self._memory, RELEASED)[0] == self.generation)

    def release(self) -> None:
        """In the reader's place."""
        _WORD.pack_into(self._memory, RELEASED, self.generation)


class SharedMemoryPool:
    """A writer's pool; safe to use from several threads."""

    def __init__(self, host: HostMemory, limit_bytes: int, lease_s: float) -> None:
        self._claim = host.claim()
        self.close = weakref.finalize(self, self._claim.release)  # at the latest when the process ends
        self._limit_bytes = limit_bytes
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self._all: list[SharedMemorySegment] = []  # least recently used first
        self._made = 0

    def write(self, tensor: Tensor) -> SharedMemoryBlock | None:
        """A copy of ``tensor`` in shared memory; ``None`` if there is no room for it."""
        room_bytes = -(-tensor.nbytes // GRAIN_BYTES) * GRAIN_BYTES
        with self._lock:
            self._abandon()
            segment = self._released(room_bytes) or self._make(room_bytes)
            if segment is None:
                return None
            self._all.append(segment)
            block = SharedMemoryBlock(segment=segment.name, generation=segment.begin())
        segment.fill(tensor)
        return block

    def take_back(self, block: SharedMemoryBlock) -> None:
        """Release a block that nobody will read."""
        with self._lock:
            for segment in self._all:
                if segment.name == block.segment:
                    segment.release()

    def reclaim(self) -> None:
        """Let go of memory whose readers have been silent for longer than the lease."""
        with self._lock:
            self._abandon()

    def _abandon(self) -> None:
        late = time.monotonic() - self._lease_s
        for segment in [s for s in self._all if s.lent_at < late and not s.is_released]:
            self._remove(segment)

    def _released(self, room_bytes: int) -> SharedMemorySegment | None:
        for segment in self._all:
            if segment.room_bytes == room_bytes and segment.is_released:
                self._all.remove(segment)
                return segment
        return None

    def _make(self, room_bytes: int) -> SharedMemorySegment | None:
        used = sum(segment.room_bytes for segment in self._all)
        for segment in [s for s in self._all if s.is_released]:
            if used + room_bytes <= self._limit_bytes:
                break
            used -= segment.room_bytes
            self._remove(segment)
        if used + room_bytes > self._limit_bytes:
            return None
        self._made += 1
        try:
            name = f"{self._claim.name}/{self._made}"
            return SharedMemorySegment(self._claim.folder / str(self._made), name, room_bytes)
        except OSError:  # the system's own limit is lower than ours
            return None

    def _remove(self, segment: SharedMemorySegment) -> None:
        self._all.remove(segment)
        segment.path.unlink(missing_ok=True)
