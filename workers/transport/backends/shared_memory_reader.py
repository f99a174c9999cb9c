"""The reader's side of shared memory: segments are mapped once, payloads handed out as views of them.

A view is the lease of its segment: when the last tensor over it is gone, the segment is released.
"""

import struct
import threading
import weakref
from pathlib import Path

from workers.devices.base import Device
from workers.transport.backends.mapped_file import map_file
from workers.transport.backends.registered_memory import RegisteredMemory
from workers.transport.backends.shared_memory_pool import (
    DATA,
    GENERATION,
    MAGIC,
    RELEASED,
    SharedMemoryBlock,
)

_WORD = struct.Struct("<Q")


class SharedMemoryReader:
    """The segments of this host's writers that this worker has read; safe to use from several threads."""

    def __init__(self, folder: Path, device: Device) -> None:
        self._folder = folder
        self._device = device
        self._lock = threading.Lock()
        self._mapped: dict[str, RegisteredMemory] = {}

    def open(self, block: SharedMemoryBlock, size_bytes: int) -> memoryview | None:
        """The payload, released when nothing refers to the view any more.

        ``None`` if its writer has given the block up, or is dead and its folder was removed.
        """
        with self._lock:
            mapped = self._mapped.get(block.segment) or self._map(block.segment)
        if mapped is None or DATA + size_bytes > len(mapped.mapping):
            return None
        if _WORD.unpack_from(mapped.mapping, GENERATION)[0] != block.generation:
            return None
        view = memoryview(mapped.mapping)[DATA : DATA + size_bytes]
        weakref.finalize(view, _release, mapped, block.generation).atexit = False
        return view

    def drop_gone(self) -> None:
        """Forget segments whose files are gone; their memory is free when the last tensor over it is."""
        with self._lock:
            gone = [self._mapped.pop(n) for n in list(self._mapped) if not (self._folder / n).exists()]
        del gone  # without the lock: it may undo registrations

    def _map(self, name: str) -> RegisteredMemory | None:
        memory = map_file(self._folder, name, MAGIC, populate=True)
        if memory is None:
            return None
        mapped = self._mapped[name] = RegisteredMemory(memory, self._device)
        return mapped


def _release(mapped: RegisteredMemory, generation: int) -> None:
    """Tell the writer that the reader of this generation has finished."""
    _WORD.pack_into(mapped.mapping, RELEASED, generation)
