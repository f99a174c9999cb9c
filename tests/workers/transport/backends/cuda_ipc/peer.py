"""A second process with the backend: does what each line of its standard input says, and prints the answer.

``python -m tests.workers.transport.backends.cuda_ipc.peer FOLDER DEVICE LIMIT_BYTES LEASE_S``
"""

import json
import signal
import subprocess
import sys
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
    return torch.randint(0, 256, (size_bytes,), dtype=torch.uint8, generator=generator)


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
        command = [sys.executable, "-m", __name__, str(folder), device, str(limit_bytes), str(lease_s)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, name: str, *words: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *words]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the second process has ended"
        return json.loads(answer)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.communicate("")


def _serve(folder: str, device_name: str, limit_bytes: str, lease_s: str) -> None:
    device = find_device(device_name)
    backend = make_backend(HostMemory(Path(folder)), device, int(limit_bytes), float(lease_s))
    commands = {
        "announce": backend.announce,
        "sweep": backend.sweep,
        "can_reach": backend.can_reach,
        "put": lambda *words: put(backend, device, *words),
        "get": lambda *words: get(backend, device, *words),
    }
    for line in sys.stdin:
        name, *words = json.loads(line)
        print(json.dumps(commands[name](*words)), flush=True)
    backend.close()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
