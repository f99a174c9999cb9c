"""A second process with the backend: does what each message from the test says, and sends the answer."""

import json
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.workers.transport.backends.host_slabs import HostSlabs
from tests.workers.transport.transport_ends import make_request
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.devices.slabs import DeviceSlabs
from workers.transport.backends.cuda_ipc.backend import CUDAIPCBackend
from workers.transport.backends.host_memory import HostMemory

#: Processes are forked from one that has imported this module, and torch, once; it has used no GPU.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])
#: Of random bytes, before they repeat: of no size that memory is divided into.
PERIOD_BYTES = 1_000_003


def find_slabs(device: Device, folder: Path) -> DeviceSlabs:
    """Those of the device, or where it has none, of the host."""
    return device.slabs() or HostSlabs(folder)


def make_backend(
    host: HostMemory, device: Device, limit_bytes: int = 1 << 30, lease_s: float = 60.0
) -> CUDAIPCBackend:
    return CUDAIPCBackend(host, find_slabs(device, host.folder), device, limit_bytes, lease_s)


def payload(seed: int, size_bytes: int) -> Tensor:
    """Bytes that no two seeds share."""
    generator = torch.Generator().manual_seed(seed)
    block = torch.randint(0, 256, (min(size_bytes, PERIOD_BYTES),), dtype=torch.uint8, generator=generator)
    return block.repeat(-(-size_bytes // PERIOD_BYTES))[:size_bytes]


def put(backend: CUDAIPCBackend, device: Device, peer: str, seed: int, size_bytes: int) -> Any:
    """Location of a payload that is there, or None."""
    request = make_request(reachable_by={backend.name: peer})
    with device.on_stream("out"):
        stored = backend.put(request, 0, payload(seed, size_bytes).to(device.torch_device))
    if stored is None:
        return None
    assert stored.wait is not None
    stored.wait()
    return stored.location


def get(backend: CUDAIPCBackend, device: Device, location: Any, seed: int, size_bytes: int) -> str:
    """What became of a payload."""
    with device.on_stream("in"):
        received = backend.get(location, size_bytes, memoryview(b""))
        if received is None or not received.confirm():
            return "lost"
        copy = received.payload
        assert copy.device == device.torch_device
        return "same" if torch.equal(copy.cpu(), payload(seed, size_bytes)) else "other bytes"


class Peer:
    """The second process, as the test sees it."""

    def __init__(self, folder: Path, device: str, limit_bytes: int = 1 << 30, lease_s: float = 60.0) -> None:
        self._test, own = FORKS.Pipe()
        self._process = FORKS.Process(target=_serve, args=[own, folder, device, limit_bytes, lease_s])
        self._process.start()
        own.close()

    def ask(self, name: str, *words: Any) -> Any:
        """Raises `EOFError` once the second process has ended."""
        self._test.send_bytes(json.dumps([name, *words]).encode())
        return json.loads(self._test.recv_bytes())

    def kill(self) -> None:
        self._process.kill()
        self.close()

    def close(self) -> None:
        self._test.close()
        self._process.join()


def _serve(test: Connection, folder: Path, device_name: str, limit_bytes: int, lease_s: float) -> None:
    device = find_device(device_name)
    backend = make_backend(HostMemory(folder), device, limit_bytes, lease_s)
    commands = {
        "announce": backend.announce,
        "sweep": backend.sweep,
        "can_reach": backend.can_reach,
        "put": lambda *words: put(backend, device, *words),
        "get": lambda *words: get(backend, device, *words),
    }
    while (message := _receive(test)) is not None:
        name, *words = message
        test.send_bytes(json.dumps(commands[name](*words)).encode())
    backend.close()


def _receive(test: Connection) -> Any:
    """What the test asks; ``None`` once it has closed its end."""
    try:
        return json.loads(test.recv_bytes())
    except EOFError:
        return None
