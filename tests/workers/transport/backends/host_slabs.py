"""Slabs in the host's memory, for tests: real processes open them by handles, as they would open a GPU's."""

import mmap
import os
import secrets
from pathlib import Path

import torch
from torch import Tensor

from workers.devices.slabs import DeviceSlabs, OwnSlab, Slab, SlabError

HANDLE_BYTES = 64


class HostSlab(OwnSlab):
    """A file; its name is the handle."""

    def __init__(self, slabs: "HostSlabs", handle: bytes, memory: Tensor, path: Path | None) -> None:
        self.handle, self.memory = handle, memory
        self._slabs, self._path = slabs, path

    def close(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._slabs.allocated.remove(self)
        else:
            self._slabs.opened.remove(self)


class HostSlabs(DeviceSlabs):
    """``capacity_bytes``: the memory of the device; ``refuses``: neither exports nor opens anything."""

    handle_bytes = HANDLE_BYTES

    def __init__(self, folder: Path, capacity_bytes: int = 1 << 30, *, refuses: bool = False) -> None:
        self.capacity_bytes, self.refuses = capacity_bytes, refuses
        self.is_wrong = False  # opens other memory than it was asked for
        self.allocated: list[HostSlab] = []
        self.opened: list[HostSlab] = []
        self._folder = folder

    def allocate(self, size_bytes: int) -> OwnSlab | None:
        if self.refuses:
            raise SlabError("cudaIpcGetMemHandle: cudaErrorNotSupported")
        if sum(slab.memory.numel() for slab in self.allocated) + size_bytes > self.capacity_bytes:
            return None
        name = f"slab-{secrets.token_hex(8)}"
        memory = self._map(self._folder / name, os.O_CREAT | os.O_EXCL, size_bytes)
        slab = HostSlab(self, name.encode().ljust(HANDLE_BYTES, b"\0"), memory, self._folder / name)
        self.allocated.append(slab)
        return slab

    def open(self, handle: bytes, size_bytes: int) -> Slab:
        if self.refuses:
            raise SlabError("cudaIpcOpenMemHandle: cudaErrorPeerAccessUnsupported")
        if self.is_wrong:
            memory = torch.zeros(size_bytes, dtype=torch.uint8)
        else:
            try:
                memory = self._map(self._folder / handle.rstrip(b"\0").decode(), 0, size_bytes)
            except (OSError, ValueError) as error:
                raise SlabError(f"cudaIpcOpenMemHandle: {error}") from error
        slab = HostSlab(self, handle, memory, None)
        self.opened.append(slab)
        return slab

    def _map(self, path: Path, flags: int, size_bytes: int) -> Tensor:
        file = os.open(path, os.O_RDWR | flags, 0o600)
        try:
            if flags:
                os.truncate(file, size_bytes)
            return torch.frombuffer(mmap.mmap(file, size_bytes), dtype=torch.uint8)
        finally:
            os.close(file)
