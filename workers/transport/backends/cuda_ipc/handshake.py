"""Before two workers use the backend, the reader opens a probe of the writer's and checks its bytes.

Whether one process can open the memory of another depends on devices, drivers, containers and namespaces, so
it is tried. The writer makes a probe when a reader first asks it for residuals; the reader finds it at its
next sweep, and leaves its answer as a file in the writer's folder. A refusal is final for the two of them.
"""

import hashlib
import logging
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from workers.devices.base import Device
from workers.devices.slabs import DeviceSlabs, OwnSlab, SlabError
from workers.transport.backends.cuda_ipc.segment import create_segment, open_segment
from workers.transport.backends.host_memory import WorkerFolder

log = logging.getLogger(__name__)

PROBE = "probe"
PROBE_BYTES = 64 << 10


class WriterHandshake:
    """The writer's side: makes the probe, and reads the answers."""

    def __init__(self, slabs: DeviceSlabs, device: Device, folder: WorkerFolder) -> None:
        self._slabs, self._device, self._folder = slabs, device, folder
        self._is_wanted = False
        self._probe: OwnSlab | None = None
        self._failed = False
        self._refused_by: set[str] = set()

    def is_accepted_by(self, reader: str) -> bool:
        """Whether the reader with this folder has verified the probe, and has refused nothing since."""
        if self._failed or reader in self._refused_by:
            return False
        self._is_wanted = True
        if _accepted(self._folder.path, reader).exists():
            return True
        refused = _refused(self._folder.path, reader)
        if refused.exists():
            self._refused_by.add(reader)
            why = refused.read_text()
            log.warning("device memory not shared with a worker", extra={"reader": reader, "error": why})
        return False

    def fail(self, why: str) -> None:
        """Use the backend no more, with anybody."""
        if not self._failed:
            self._failed = True
            log.warning("device memory not shared", extra={"error": why})

    def make_probe(self) -> None:
        """Make the probe if a reader waits for one; called every few seconds."""
        if not self._is_wanted or self._failed or self._probe is not None:
            return
        try:
            probe = self._slabs.allocate(PROBE_BYTES)
            if probe is None:
                return  # the device is full: again at the next call
            with self._device.on_stream("out"):
                probe.memory.copy_(_pattern(self._folder.name))
                self._device.record().wait()
            create_segment(self._folder.path, PROBE, probe)
        except (SlabError, OSError) as error:
            self.fail(str(error))
            return
        self._probe = probe


class ReaderHandshake:
    """The reader's side: answers every probe of this host once."""

    def __init__(self, slabs: DeviceSlabs, device: Device, shared: Path, name: str) -> None:
        """``shared`` holds the folders of all workers; ``name`` is that of this worker's."""
        self._slabs, self._device = slabs, device
        self._shared, self._name = shared, name
        self._answered: set[str] = set()

    def answer(self) -> None:
        """Answer probes that have no answer of this worker yet; called every few seconds."""
        writers = {path.parent.name for path in self._shared.glob(f"*/{PROBE}")}
        self._answered &= writers
        for writer in sorted(writers - self._answered):
            why = self._verify(writer)
            self._answered.add(writer)
            if why is None:
                with suppress(OSError):  # the writer has just ended
                    _accepted(self._shared / writer, self._name).touch(mode=0o600)
                log.info("device memory shared with a worker", extra={"writer": writer})
            else:
                self.refuse(writer, why)

    def refuse(self, writer: str, why: str) -> None:
        """Tell a writer to use other backends from now on."""
        log.warning("device memory not shared with a worker", extra={"writer": writer, "error": why})
        with suppress(OSError):
            _refused(self._shared / writer, self._name).write_text(why)
            _accepted(self._shared / writer, self._name).unlink(missing_ok=True)

    def _verify(self, writer: str) -> str | None:
        """``None`` if the probe holds the bytes that it should; else why not."""
        segment = open_segment(self._shared, f"{writer}/{PROBE}", self._slabs.handle_bytes)
        if segment is None or segment.size_bytes != PROBE_BYTES:
            return "its probe cannot be read"
        try:
            slab = self._slabs.open(segment.handle, segment.size_bytes)
        except SlabError as error:
            return str(error)
        try:
            with self._device.on_stream("in"):
                found = self._device.to_host(slab.memory.clone()).wait()
            return None if torch.equal(found, _pattern(writer)) else "its probe holds other bytes"
        except RuntimeError as error:
            return str(error)
        finally:
            slab.close()


def _pattern(writer: str) -> Tensor:
    """The bytes of a writer's probe, which no two writers share."""
    return torch.frombuffer(
        bytearray(hashlib.shake_256(writer.encode()).digest(PROBE_BYTES)), dtype=torch.uint8
    )


def _accepted(writer: Path, reader: str) -> Path:
    return writer / f"accepted-{reader}"


def _refused(writer: Path, reader: str) -> Path:
    return writer / f"refused-{reader}"
