"""A folder of its own in the real shared memory, and the devices whose memory is shared."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.transport.backends.cuda_ipc.ends import Ends
from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.transport.backends.host_memory import HostMemory


@pytest.fixture
def host() -> Iterator[HostMemory]:
    memory = HostMemory(Path(f"/dev/shm/swiftdiffusion-ipc-{os.getpid()}"))
    yield memory
    shutil.rmtree(memory.folder)


@pytest.fixture
def ends(host: HostMemory) -> Ends:
    return Ends(host)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> Device:
    """The CPU, whose slabs are files, and the first GPU."""
    found: Device = request.getfixturevalue("cuda") if request.param == "cuda" else find_device("cpu")
    return found
