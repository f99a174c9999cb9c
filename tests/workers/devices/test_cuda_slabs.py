"""Slabs on a GPU, as one process can see them; two processes are in the tests of the transport's backend."""

import pytest
import torch

from workers.devices.base import Device
from workers.devices.selection import find_device
from workers.devices.slabs import DeviceSlabs, SlabError


@pytest.fixture
def slabs(cuda: Device) -> DeviceSlabs:
    found = cuda.slabs()
    assert found is not None, "torch for CUDA brings cuda-bindings"
    return found


def test_a_cpu_has_no_slabs() -> None:
    assert find_device("cpu").slabs() is None


def test_a_slab_is_memory_of_the_device_that_torch_can_compute_with(cuda: Device, slabs: DeviceSlabs) -> None:
    slab = slabs.allocate(8 << 20)
    assert slab is not None
    assert len(slab.handle) == slabs.handle_bytes == 64
    assert (slab.memory.device, slab.memory.shape) == (cuda.torch_device, (8 << 20,))
    numbers = torch.randn(1 << 20, device=cuda.torch_device)
    part = slab.memory[65536 : 65536 + numbers.nbytes]
    part.copy_(numbers.view(torch.uint8))
    assert torch.equal(part.clone().view(torch.float32), numbers)
    cuda.record_stream(slab.memory)  # of no effect, and no error
    slab.close()


def test_a_slab_of_this_process_can_be_opened_in_it_by_its_handle(cuda: Device, slabs: DeviceSlabs) -> None:
    slab = slabs.allocate(1 << 20)
    assert slab is not None
    slab.memory.fill_(7)
    opened = slabs.open(slab.handle, 1 << 20)
    assert int(opened.memory.sum(dtype=torch.int64)) == 7 << 20
    opened.close()
    assert int(slab.memory.sum(dtype=torch.int64)) == 7 << 20
    slab.close()


def test_memory_of_a_closed_slab_returns_to_the_device(cuda: Device, slabs: DeviceSlabs) -> None:
    before = cuda.memory()
    slab = slabs.allocate(256 << 20)
    during = cuda.memory()
    assert slab is not None
    slab.close()
    after = cuda.memory()
    assert before is not None
    assert during is not None
    assert after is not None
    assert before.free_bytes - during.free_bytes >= 256 << 20
    assert after.free_bytes - during.free_bytes >= 256 << 20


@pytest.mark.parametrize("handle", [b"\0" * 64, b"\xff" * 64], ids=["zeros", "ones"])
def test_a_handle_that_nobody_has_made_is_an_error_and_nothing_else(
    handle: bytes, cuda: Device, slabs: DeviceSlabs
) -> None:
    with pytest.raises(SlabError, match="cudaIpcOpenMemHandle"):
        slabs.open(handle, 1 << 20)
    # And torch knows nothing of it
    assert float(torch.ones(8, device=cuda.torch_device).sum()) == 8.0
    assert not cuda.is_lost()


def test_a_device_with_too_little_memory_gives_no_slab_and_goes_on(cuda: Device, slabs: DeviceSlabs) -> None:
    memory = cuda.memory()
    assert memory is not None
    assert slabs.allocate(2 * memory.total_bytes) is None
    assert float(torch.ones(8, device=cuda.torch_device).sum()) == 8.0
