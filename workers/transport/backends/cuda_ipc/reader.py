"""The reader's side: slabs of other processes, opened once, and copies of the payloads in them.

A copy counts only if its slot still held the payload, and the writer still lived, when it had ended: so what
a writer has given up, or has left behind, is never used. Only then is the slot handed back.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import Tensor

from workers.devices.base import Device, Event
from workers.devices.slabs import DeviceSlabs, Slab, SlabError
from workers.transport.backends.cuda_ipc.location import DeviceSlot
from workers.transport.backends.cuda_ipc.segment import Segment, open_segment
from workers.transport.backends.host_memory import FolderOwner

log = logging.getLogger(__name__)


class _OpenedSlab:
    """A slab of another process, its segment, and whether its writer lives."""

    def __init__(self, segment: Segment, slab: Slab, writer: FolderOwner) -> None:
        self.segment, self.slab, self.writer = segment, slab, writer
        self.users = 0  # copies that are being made

    def close(self) -> None:
        self.slab.close()
        self.writer.close()


class SlabCopy:
    """A copy of a payload that the device is making; its slab stays open until it is confirmed."""

    def __init__(
        self, payload: Tensor, copied: Event, opened: _OpenedSlab, place: DeviceSlot, use: ExitStack
    ) -> None:
        """``payload`` holds the bytes once ``copied`` has happened; ``use`` is closed then."""
        self.payload = payload
        self._copied, self._opened, self._place, self._use = copied, opened, place, use

    def confirm(self) -> bool:
        """Wait for the copy and hand the slot back; whether the copy counts. Called once."""
        with self._use:
            self._copied.wait()
            if not _is_there(self._opened, self._place, self.payload.numel()):
                return False
            self._opened.segment.release(self._place.offset, self._place.generation)
            return True


class SlabReader:
    """The slabs of this host's writers that this worker has read; safe to use from several threads."""

    def __init__(
        self, slabs: DeviceSlabs, device: Device, folder: Path, on_failure: Callable[[str, str], None]
    ) -> None:
        """``on_failure`` is told the folder of a writer whose slab cannot be opened, and why."""
        self._slabs, self._device, self._folder = slabs, device, folder
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._opened: dict[str, _OpenedSlab] = {}

    def copy(self, place: DeviceSlot, size_bytes: int) -> "SlabCopy | None":
        """Begin to copy the payload, ``uint8``, ``(size_bytes,)``, on the current stream.

        ``None`` if it is not there (any more).
        """
        with ExitStack() as use:
            opened = use.enter_context(self._use(place.segment))
            if opened is None or not _is_there(opened, place, size_bytes):
                return None
            payload = opened.slab.memory[place.offset : place.offset + size_bytes].clone()
            return SlabCopy(payload, self._device.record(), opened, place, use.pop_all())

    def release(self, place: DeviceSlot, size_bytes: int) -> None:
        """Hand a slot back that nobody will read."""
        segment = open_segment(self._folder, place.segment, self._slabs.handle_bytes)
        is_there = segment is not None and segment.holds(place.offset, size_bytes)
        if segment is not None and is_there and segment.generation(place.offset) == place.generation:
            segment.release(place.offset, place.generation)

    def drop_gone(self) -> None:
        """Close the slabs of writers that have ended, once no copy reads them."""
        with self._lock:
            gone = [name for name, one in self._opened.items() if not one.users and not one.writer.is_alive]
            closed = [self._opened.pop(name) for name in gone]
        for opened in closed:
            opened.close()

    def close(self) -> None:
        """Close all slabs that no copy reads."""
        with self._lock:
            closed = [one for one in self._opened.values() if not one.users]
            self._opened.clear()
        for opened in closed:
            opened.close()

    @contextmanager
    def _use(self, name: str) -> Iterator[_OpenedSlab | None]:
        with self._lock:
            opened = self._opened.get(name) or self._open(name)
            if opened is not None:
                opened.users += 1
        try:
            yield opened
        finally:
            if opened is not None:
                with self._lock:
                    opened.users -= 1

    def _open(self, name: str) -> _OpenedSlab | None:
        segment = open_segment(self._folder, name, self._slabs.handle_bytes)
        if segment is None:
            return None
        writer_name = name.partition("/")[0]
        try:
            writer = FolderOwner(self._folder / writer_name)
        except OSError:  # it has just ended
            return None
        try:
            slab = self._slabs.open(segment.handle, segment.size_bytes)
        except SlabError as error:
            if writer.is_alive:
                self._on_failure(writer_name, str(error))
            writer.close()
            return None
        self._opened[name] = _OpenedSlab(segment, slab, writer)
        return self._opened[name]


def _is_there(opened: _OpenedSlab, place: DeviceSlot, size_bytes: int) -> bool:
    """Whether the slot holds the payload, and its writer lives."""
    segment = opened.segment
    is_in = segment.holds(place.offset, size_bytes)
    return is_in and segment.generation(place.offset) == place.generation and opened.writer.is_alive
