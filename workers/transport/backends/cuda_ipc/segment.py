"""The file that describes a slab: how to open it, and which payload each of its slots holds.

It lies in the writer's locked folder, which only this user can write, so what it says is trusted. Both ends
map it. Where a slot begins, the writer writes the generation of the payload, and the reader writes it back
once it has read it: so slots are handed back without a message.

``magic (8) | size of the slab (8) | handle | …``, and from `WORDS` on, by granule:
``generation (8) | released generation (8)``
"""

import mmap
import os
import struct
from pathlib import Path

from workers.devices.slabs import OwnSlab
from workers.transport.backends.mapped_file import map_file

MAGIC = b"SDSLAB01"
SIZE, HANDLE, WORDS = 8, 16, 4096
#: A slot begins at a multiple of this in its slab, and has so many bytes or a multiple of them.
GRANULE_BYTES = 64 << 10
_WORD = struct.Struct("<Q")
#: Nothing is stored there.
NO_GENERATION = 0


class Segment:
    """The mapped file of one slab."""

    def __init__(self, name: str, memory: mmap.mmap, handle_bytes: int) -> None:
        """``name``: ``FOLDER/FILE``."""
        self.name = name
        self._memory = memory
        self.size_bytes: int = _WORD.unpack_from(memory, SIZE)[0]
        self.handle = memory[HANDLE : HANDLE + handle_bytes]

    @property
    def is_whole(self) -> bool:
        """Whether the file has a word for every granule of the slab."""
        return self.size_bytes > 0 and len(self._memory) == _file_bytes(self.size_bytes)

    def holds(self, offset: int, size_bytes: int) -> bool:
        """Whether a slot may begin at ``offset`` and hold a payload of ``size_bytes``."""
        is_aligned = offset >= 0 and offset % GRANULE_BYTES == 0
        return is_aligned and size_bytes > 0 and offset + size_bytes <= self.size_bytes

    def generation(self, offset: int) -> int:
        """Which payload the slot at ``offset`` holds."""
        return int(_WORD.unpack_from(self._memory, _word(offset))[0])

    def set_generation(self, offset: int, generation: int) -> None:
        """Give the slot to a payload, or with `NO_GENERATION` take it back from its reader."""
        _WORD.pack_into(self._memory, _word(offset), generation)

    def released(self, offset: int) -> int:
        """Which payload of the slot at ``offset`` was read last."""
        return int(_WORD.unpack_from(self._memory, _word(offset) + _WORD.size)[0])

    def release(self, offset: int, generation: int) -> None:
        """Hand the slot back."""
        _WORD.pack_into(self._memory, _word(offset) + _WORD.size, generation)


def create_segment(folder: Path, file_name: str, slab: OwnSlab) -> Segment:
    """Describe a slab in a new file of the writer's folder; raises `OSError`."""
    size_bytes = slab.memory.numel()
    file = os.open(folder / file_name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # Now, or the first write to a page that cannot be had would kill the process.
        os.posix_fallocate(file, 0, _file_bytes(size_bytes))
        memory = mmap.mmap(file, _file_bytes(size_bytes))
    except OSError:
        (folder / file_name).unlink()
        raise
    finally:
        os.close(file)
    _WORD.pack_into(memory, SIZE, size_bytes)
    memory[HANDLE : HANDLE + len(slab.handle)] = slab.handle
    memory[: len(MAGIC)] = MAGIC
    return Segment(f"{folder.name}/{file_name}", memory, len(slab.handle))


def open_segment(folder: Path, name: str, handle_bytes: int) -> Segment | None:
    """The segment ``FOLDER/FILE`` of any writer of this host; ``None`` if it is gone, or no segment."""
    memory = map_file(folder, name, MAGIC)
    if memory is None or len(memory) < WORDS or handle_bytes > WORDS - HANDLE:
        return None
    segment = Segment(name, memory, handle_bytes)
    return segment if segment.is_whole else None


def granules(size_bytes: int) -> int:
    """How many bytes of whole granules a payload takes."""
    return -(-size_bytes // GRANULE_BYTES) * GRANULE_BYTES


def _word(offset: int) -> int:
    return WORDS + offset // GRANULE_BYTES * 2 * _WORD.size


def _file_bytes(slab_bytes: int) -> int:
    return WORDS + -(-slab_bytes // GRANULE_BYTES) * 2 * _WORD.size
