"""Payloads that stay on the GPU: the reader copies them out of the writer's memory, by CUDA IPC.

The header of a payload is published when its bytes are there (`StoredPayload.wait`), and the reader waits for
its own copies, once for all that have arrived: no stream ever waits for another process, so a peer that dies
leaves no device waiting. Whatever fails, the next backend carries the residuals.
"""

import logging
import re
import weakref
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from shared.errors import DeviceLost
from workers.devices.base import Device
from workers.devices.errors import device_error
from workers.devices.slabs import DeviceSlabs, SlabError
from workers.transport.backends.base import Arriving, Location, StoredPayload, TransportBackend
from workers.transport.backends.cuda_ipc.handshake import ReaderHandshake, WriterHandshake
from workers.transport.backends.cuda_ipc.location import DeviceSlot
from workers.transport.backends.cuda_ipc.pool import SlotPool
from workers.transport.backends.cuda_ipc.reader import SlabReader
from workers.transport.backends.host_memory import HostMemory
from workers.transport.protocol import StepRequest

log = logging.getLogger(__name__)

R = TypeVar("R")

#: What a worker announces: the token of its host's shared memory, and its folder there.
_PEER = re.compile(r"([0-9a-f]{32})/([0-9a-f]{16})")


class CUDAIPCBackend(TransportBackend):
    """This process's slots on its device, and copies out of those of other processes."""

    name = "cuda_ipc"

    def __init__(
        self, host: HostMemory, slabs: DeviceSlabs, device: Device, limit_bytes: int, lease_s: float
    ) -> None:
        """``limit_bytes``: device memory for slots; ``lease_s``: an unread payload is given up then."""
        self._host, self._device = host, device
        folder = host.make_worker_folder()
        self._announced = f"{host.token}/{folder.name}"
        self._pool = SlotPool(slabs, device, folder, limit_bytes, lease_s)
        self._as_writer = WriterHandshake(slabs, device, folder)
        self._as_reader = ReaderHandshake(slabs, device, host.folder, folder.name)
        self._reader = SlabReader(slabs, device, host.folder, self._as_reader.refuse)
        self._remove = weakref.finalize(self, folder.remove)  # at the latest when the process ends

    def announce(self) -> str:
        """The token of the memory that this worker sees, and its folder there."""
        return self._announced

    def can_reach(self, peer: str) -> bool:
        """Whether the other worker is on this host and has verified that it can open this one's memory."""
        reader = self._reader_of(peer)
        return reader is not None and self._as_writer.is_accepted_by(reader)

    def put(self, request: StepRequest, index: int, payload: Tensor) -> StoredPayload | None:
        """Copy it into a slot, on the device; ``None`` while there is no space, and after an error."""
        reader = self._reader_of(request.reachable_by.get(self.name, ""))
        if reader is None or not payload.numel():
            return None
        try:
            written = self._pool.write(payload, reader)
        except SlabError as error:
            self._as_writer.fail(str(error))
            return None
        except RuntimeError as error:
            self._as_writer.fail(self._reason(error))
            return None
        return None if written is None else StoredPayload(written.slot.model_dump(), transfer=written)

    def get(self, location: Location, size_bytes: int, attached: memoryview) -> Arriving | None:
        """A copy, which the device begins to make."""
        place = DeviceSlot.model_validate(location)
        copy = self._try(place, lambda: self._reader.copy(place, size_bytes))
        if copy is None:
            return None
        return Arriving(copy.payload, lambda: bool(self._try(place, copy.confirm)))

    def discard(self, location: Location, size_bytes: int) -> None:
        """Free the slot in its reader's place."""
        place = DeviceSlot.model_validate(location)
        if not self._pool.release(place):
            self._reader.release(place, size_bytes)

    def sweep(self) -> None:
        """Make and answer probes; free slots and close slabs of processes that have ended."""
        self._host.sweep()
        self._as_writer.make_probe()
        self._as_reader.answer()
        self._reader.drop_gone()
        self._pool.reclaim(self._host.is_alive)

    def close(self) -> None:
        """Remove this process's folder: readers close its slabs at their next sweep."""
        self._reader.close()
        self._remove()
        self._pool.close(self._host.is_alive)

    def _try(self, place: DeviceSlot, function: Callable[[], R]) -> R | None:
        """Call ``function``; an error of the device ends the use of what the payload's writer sends."""
        try:
            return function()
        except RuntimeError as error:
            self._as_reader.refuse(place.segment.partition("/")[0], self._reason(error))
            return None

    def _reader_of(self, peer: str) -> str | None:
        """The folder of a worker of this host, by what it announces."""
        found = _PEER.fullmatch(peer)
        return found[2] if found and found[1] == self._host.token else None

    def _reason(self, error: RuntimeError) -> str:
        """Why a call of torch failed; raises `DeviceLost` where nothing works any more."""
        meant = device_error(error, self._device)
        if isinstance(meant, DeviceLost):
            raise meant from error
        return str(error).partition("\n")[0]
