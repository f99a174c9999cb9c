"""The writer's side of shared memory: a pool of segments, one payload in each, used again and again.

A segment is a file in the writer's folder: a header, then the payload. The reader releases it by writing
its generation back into the header, without a message. A segment that is not released within the lease is
abandoned: its file is removed and never written again. So a reader that still uses it is safe (mapped memory
outlives its file), and the memory is free once the last of the two has unmapped it.

``magic (8) | generation (8) | released generation (8) | … | payload, from `DATA` on``
"""

import logging
import mmap
import os
import struct
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from shared.message_base import Message
from workers.devices.base import Device, HostCopy
from workers.transport.backends.host_memory import HostMemory, WorkerFolder

log = logging.getLogger(__name__)

MAGIC = b"SDSEG001"
GENERATION, RELEASED = 8, 16
#: Where the payload begins: on a page of its own.
DATA = 4096
#: Sizes are rounded up to this, so that nearly equal payloads share segments.
GRAIN_BYTES = 64 << 10
#: A refusal of the system is told to the operator for so long.
REMEMBERED_S = 600.0
_WORD = struct.Struct("<Q")


class SharedMemoryBlock(Message):
    """Location: ``FOLDER/NUMBER`` of a segment, in its ``generation``-th use."""

    segment: str
    generation: int


class WrittenBlock(NamedTuple):
    """A block, and the copy that fills it."""

    block: SharedMemoryBlock
    copy: HostCopy


class SystemRefusal(NamedTuple):
    """The system had no memory where the settings allow more."""

    text: str
    at: float  # `time.monotonic`


class SharedMemorySegment:
    """One mapped file, on the writer's side; registered with the device, which copies into it by itself."""

    def __init__(self, path: Path, name: str, capacity_bytes: int, device: Device) -> None:
        """Reserve the memory; raises `OSError` if the system has not so much left."""
        self.path, self.name, self.capacity_bytes = path, name, capacity_bytes
        self._device = device
        self._copy: HostCopy | None = None
        self.generation = 0
        self.lent_at = 0.0
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Now, or the first write to a page that cannot be had would kill the process.
            os.posix_fallocate(file, 0, DATA + capacity_bytes)
            self._memory = mmap.mmap(file, DATA + capacity_bytes)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(file)
        self._memory[: len(MAGIC)] = MAGIC
        self._bytes = torch.frombuffer(self._memory, dtype=torch.uint8)
        self._is_registered = device.register(self._bytes.data_ptr(), len(self._memory))

    def begin(self) -> int:
        """Take the segment for a new generation; returns its number."""
        self.generation += 1
        self.lent_at = time.monotonic()
        _WORD.pack_into(self._memory, GENERATION, self.generation)
        return self.generation

    def fill(self, payload: Tensor) -> HostCopy:
        """Copy ``payload`` in, ``uint8``, ``(n,)``, once the current stream has computed it."""
        self._copy = self._device.to_host(payload, into=self._bytes[DATA : DATA + payload.nbytes])
        return self._copy

    def close(self) -> None:
        """Remove the file; whoever has mapped it can still read it."""
        if self._copy is not None:
            with suppress(RuntimeError):  # a device that is lost copies nothing any more
                self._copy.wait()
        if self._is_registered:
            self._device.unregister(self._bytes.data_ptr())
        self.path.unlink(missing_ok=True)

    @property
    def is_released(self) -> bool:
        """Whether the reader of this generation has finished."""
        return bool(_WORD.unpack_from(self._memory, RELEASED)[0] == self.generation)

    def release(self) -> None:
        """Release this generation in the reader's place."""
        _WORD.pack_into(self._memory, RELEASED, self.generation)


class SharedMemoryPool:
    """A writer's segments; safe to use from several threads."""

    def __init__(self, host: HostMemory, limit_bytes: int, lease_s: float, device: Device) -> None:
        self._folder = host.make_worker_folder()
        self._limit_bytes = limit_bytes
        self._lease_s = lease_s
        self._device = device
        self._lock = threading.Lock()
        self._segments: list[SharedMemorySegment] = []  # least recently used first
        self._created = 0
        self._refusal: SystemRefusal | None = None  # the last one
        # At the latest when the process ends.
        self.close = weakref.finalize(self, _close, self._folder, self._segments)

    def write(self, payload: Tensor) -> WrittenBlock | None:
        """Copy ``payload``, ``uint8``, ``(n,)``, to shared memory; ``None`` if there is no space for it.

        The copy begins once the current stream has computed it, and may still run on return.
        """
        capacity_bytes = -(-payload.nbytes // GRAIN_BYTES) * GRAIN_BYTES
        with self._lock:
            self._abandon_expired()
            segment = self._take_released(capacity_bytes) or self._create(capacity_bytes)
            if segment is None:
                return None
            self._segments.append(segment)
            block = SharedMemoryBlock(segment=segment.name, generation=segment.begin())
        return WrittenBlock(block, segment.fill(payload))

    def release(self, block: SharedMemoryBlock) -> bool:
        """Release a block that nobody will read; ``False`` if it is not one of this pool's."""
        if not block.segment.startswith(f"{self._folder.name}/"):
            return False
        with self._lock:
            for segment in self._segments:
                if (segment.name, segment.generation) == (block.segment, block.generation):
                    segment.release()
        return True

    def warning(self) -> str | None:
        """That the system has lately refused memory that the settings allow, in a sentence."""
        refusal = self._refusal
        is_recent = refusal is not None and time.monotonic() - refusal.at < REMEMBERED_S
        return refusal.text if refusal is not None and is_recent else None

    def reclaim(self) -> None:
        """Give up segments whose readers have been silent for longer than the lease."""
        with self._lock:
            self._abandon_expired()

    def _abandon_expired(self) -> None:
        late = time.monotonic() - self._lease_s
        for segment in [s for s in self._segments if s.lent_at < late and not s.is_released]:
            self._remove(segment)

    def _take_released(self, capacity_bytes: int) -> SharedMemorySegment | None:
        for segment in self._segments:
            if segment.capacity_bytes == capacity_bytes and segment.is_released:
                self._segments.remove(segment)
                return segment
        return None

    def _create(self, capacity_bytes: int) -> SharedMemorySegment | None:
        used = sum(segment.capacity_bytes for segment in self._segments)
        for segment in [s for s in self._segments if s.is_released]:
            if used + capacity_bytes <= self._limit_bytes:
                break
            used -= segment.capacity_bytes
            self._remove(segment)
        if used + capacity_bytes > self._limit_bytes:
            return None
        self._created += 1
        try:
            name = f"{self._folder.name}/{self._created}"
            path = self._folder.path / str(self._created)
            return SharedMemorySegment(path, name, capacity_bytes, self._device)
        except OSError as error:  # the system's own limit is lower than ours
            self._note_refusal(error)
            return None

    def _note_refusal(self, error: OSError) -> None:
        folder, mib = self._folder.path.parent.parent, 1 << 20
        system = os.statvfs(folder)
        text = (
            f"{folder} has {system.f_blocks * system.f_frsize // mib} MiB, of which"
            f" {system.f_bavail * system.f_frsize // mib} are free, and SWIFT_SHARED_MEMORY_BYTES allows"
            f" {self._limit_bytes // mib}: residuals travel through Redis, which is slower; give it more"
            " (Docker: --shm-size)"
        )
        if self._refusal is None:
            log.warning("shared memory is too small", extra={"error": str(error), "detail": text})
        self._refusal = SystemRefusal(text, time.monotonic())

    def _remove(self, segment: SharedMemorySegment) -> None:
        self._segments.remove(segment)
        segment.close()


def _close(folder: WorkerFolder, segments: list[SharedMemorySegment]) -> None:
    for segment in segments:
        segment.close()
    segments.clear()
    folder.remove()
