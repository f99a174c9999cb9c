"""The writer's side: slabs on its device, and slots in them that hold one payload each.

A slot is free again when its reader has written its generation back, when the reader's process has ended, or
after the lease. It then loses its generation before anything is written to it, so a reader that still copies
from it finds out afterwards.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from workers.devices.base import Device, Event
from workers.devices.slabs import DeviceSlabs, OwnSlab
from workers.transport.backends.cuda_ipc.location import DeviceSlot
from workers.transport.backends.cuda_ipc.segment import (
    GRANULE_BYTES,
    NO_GENERATION,
    Segment,
    create_segment,
    granules,
)
from workers.transport.backends.host_memory import WorkerFolder

log = logging.getLogger(__name__)

#: Slabs are about this large, or as large as one payload: allocating takes a millisecond.
SLAB_BYTES = 128 << 20
#: A payload from this size on gets a slab into which those of its size fit without a rest.
LARGE_BYTES = SLAB_BYTES // 8
#: If the device has no memory for a slab, it is not asked again for so long.
RETRY_S = 30.0


@dataclass(frozen=True)
class _Slot:
    offset: int
    size_bytes: int
    generation: int
    reader: str  # its folder
    lent_at: float


@dataclass
class _Slab:
    """A slab with its slots in use, in the order of their offsets."""

    own: OwnSlab
    segment: Segment
    slots: list[_Slot] = field(default_factory=list)
    readers: set[str] = field(default_factory=set)  # all that have ever been given a slot

    def find(self, size_bytes: int) -> int | None:
        """The offset of the first gap of so many bytes."""
        end = 0
        for slot in self.slots:
            if slot.offset - end >= size_bytes:
                return end
            end = slot.offset + slot.size_bytes
        return end if self.segment.size_bytes - end >= size_bytes else None

    def lend(self, slot: _Slot) -> None:
        self.slots = sorted([*self.slots, slot], key=lambda other: other.offset)
        self.readers.add(slot.reader)
        self.segment.set_generation(slot.offset, slot.generation)

    def free(self, is_free: Callable[[_Slot], bool]) -> None:
        kept = []
        for slot in self.slots:
            if is_free(slot):
                self.segment.set_generation(slot.offset, NO_GENERATION)
            else:
                kept.append(slot)
        self.slots = kept

    def is_released(self, slot: _Slot) -> bool:
        return self.segment.released(slot.offset) == slot.generation


@dataclass(frozen=True)
class WrittenSlot:
    """A payload in the pool."""

    slot: DeviceSlot
    copied: Event  # its bytes are there once this has happened
    payload: Tensor  # kept until then: see `workers.devices.base.HostCopy`

    @property
    def is_done(self) -> bool:
        """Whether its bytes are there; does not wait."""
        return self.copied.is_done

    def wait(self) -> None:
        """Wait until its bytes are there."""
        self.copied.wait()


class SlotPool:
    """A writer's slabs; safe to use from several threads."""

    def __init__(
        self, slabs: DeviceSlabs, device: Device, folder: WorkerFolder, limit_bytes: int, lease_s: float
    ) -> None:
        """``limit_bytes``: of all slabs; ``lease_s``: an unread payload is given up after this long."""
        self._device_slabs, self._device, self._folder = slabs, device, folder
        self._limit_bytes, self._lease_s = limit_bytes // GRANULE_BYTES * GRANULE_BYTES, lease_s
        self._lock = threading.Lock()
        self._slabs: list[_Slab] = []
        self._generations = itertools.count(1)  # of the whole pool: none is ever used again
        self._full_until = 0.0

    def write(self, payload: Tensor, reader: str) -> WrittenSlot | None:
        """Copy ``payload``, ``uint8``, ``(n,)``, for a reader, on the current stream; ``None`` without space.

        The payload's memory is kept until it was read. Raises `workers.devices.slabs.SlabError`.
        """
        size_bytes = payload.numel()
        with self._lock:
            slab, slot = self._lend(granules(size_bytes), reader)
        if slab is None or slot is None:
            return None
        place = DeviceSlot(segment=slab.segment.name, offset=slot.offset, generation=slot.generation)
        try:
            slab.own.memory[slot.offset : slot.offset + size_bytes].copy_(payload, non_blocking=True)
            self._device.record_stream(payload)
            return WrittenSlot(place, self._device.record(), payload)
        except BaseException:
            self.release(place)
            raise

    def release(self, place: DeviceSlot) -> bool:
        """Free a slot that nobody will read; ``False`` if it is not one of this pool's."""
        with self._lock:
            for slab in self._slabs:
                if slab.segment.name == place.segment:
                    slab.free(lambda slot: slot.generation == place.generation)
                    return True
        return False

    def reclaim(self, is_alive: Callable[[str], bool]) -> None:
        """Free the slots of readers that have ended, or have been silent for longer than the lease."""
        with self._lock:
            readers = {slot.reader for slab in self._slabs for slot in slab.slots}
            gone = {reader for reader in readers if not is_alive(reader)}
            for slab in self._slabs:
                slab.free(lambda slot: slot.reader in gone)
                slab.free(self._is_over(slab))

    def used_bytes(self) -> int:
        """Bytes of all slots that are not free."""
        with self._lock:
            return sum(slot.size_bytes for slab in self._slabs for slot in slab.slots)

    def close(self, is_alive: Callable[[str], bool]) -> None:
        """Free the slabs that no living process may have open; the others are freed when this process ends.

        To free memory that is mapped elsewhere is undefined.
        """
        with self._lock:
            slabs, self._slabs = self._slabs, []
        for slab in slabs:
            if not any(is_alive(reader) for reader in slab.readers):
                slab.own.close()

    def _lend(self, size_bytes: int, reader: str) -> tuple[_Slab | None, _Slot | None]:
        slab, offset = self._find(size_bytes)
        if slab is None:
            return None, None
        slot = _Slot(offset, size_bytes, next(self._generations), reader, time.monotonic())
        slab.lend(slot)
        return slab, slot

    def _find(self, size_bytes: int) -> tuple[_Slab | None, int]:
        """A slab with a gap of so many bytes and the gap's offset, allocated if need be."""
        for slab in self._slabs:
            slab.free(self._is_over(slab))
            offset = slab.find(size_bytes)
            if offset is not None:
                return slab, offset
        fresh = self._allocate(size_bytes)
        if fresh is not None:
            self._slabs.append(fresh)
        return fresh, 0

    def _is_over(self, slab: _Slab) -> Callable[[_Slot], bool]:
        late = time.monotonic() - self._lease_s
        return lambda slot: slab.is_released(slot) or slot.lent_at < late

    def _allocate(self, size_bytes: int) -> _Slab | None:
        left_bytes = self._limit_bytes - sum(slab.segment.size_bytes for slab in self._slabs)
        if size_bytes > left_bytes or time.monotonic() < self._full_until:
            return None
        slab_bytes = max(min(_fitting(size_bytes), left_bytes), size_bytes)
        own = self._device_slabs.allocate(slab_bytes)
        if own is None:
            log.warning("no device memory to share residuals in", extra={"bytes": slab_bytes})
            self._full_until = time.monotonic() + RETRY_S
            return None
        try:
            return _Slab(own, create_segment(self._folder.path, str(len(self._slabs)), own))
        except OSError:  # the host's memory is full
            own.close()
            self._full_until = time.monotonic() + RETRY_S
            return None


def _fitting(size_bytes: int) -> int:
    """The size of a slab for payloads of ``size_bytes``."""
    return SLAB_BYTES if size_bytes < LARGE_BYTES else max(SLAB_BYTES // size_bytes, 1) * size_bytes
