"""On a GPU alone; the order of copies and events is tested with a fake device where they are used."""

import mmap

import torch

from workers.devices.base import Device, DeviceCopy


def test_a_copy_to_the_host_holds_what_was_computed_before_it(cuda: Device) -> None:
    tensor = torch.randn(1 << 20, device=cuda.torch_device)
    result = (tensor * 2).sort().values
    host = cuda.to_host(result).wait()
    assert host.is_pinned()
    assert torch.equal(host, result.cpu())


def test_what_arrives_from_the_host_has_the_same_bits(cuda: Device) -> None:
    for source in (torch.randn(3, 5), torch.randn(1 << 22).pin_memory()):
        moved = cuda.from_host(source)
        assert moved.device == cuda.torch_device
        assert torch.equal(moved.cpu(), source)
    assert cuda.from_host(moved) is moved


def test_a_copy_into_registered_memory_is_there_once_it_was_waited_for(cuda: Device) -> None:
    memory = mmap.mmap(-1, 4 << 20)
    view = torch.frombuffer(memory, dtype=torch.float32)
    assert cuda.register(view.data_ptr(), len(memory))
    for shape in ((1 << 20,), (2, 8, 256, 256)):
        result = torch.randn(shape, device=cuda.torch_device) * 2
        with cuda.on_stream("out"):
            copy = cuda.to_host(result, into=view.view(shape))
        assert torch.equal(copy.wait(), result.cpu())
        assert copy.target.data_ptr() == view.data_ptr()
    cuda.unregister(view.data_ptr())


def test_what_a_side_stream_has_made_is_complete_where_it_is_followed(cuda: Device) -> None:
    # Given tensors that a side stream makes from registered memory, long after this thread has gone on
    source = torch.randn(1 << 20).pin_memory()
    for _ in range(20):
        with cuda.on_stream("in"):
            torch.cuda._sleep(1_000_000)
            made = cuda.from_host(source) + 1
            copy = DeviceCopy(cuda, made, cuda.record())
        del made
        # Then the computation finds the numbers, also when memory is used again at once
        result = copy.follow() * 2
        del copy
        assert torch.equal(result.cpu(), (source + 1) * 2)


def test_a_clock_tells_how_long_the_device_computed(cuda: Device) -> None:
    clock = cuda.start_clock()
    first = cuda.record()
    torch.cuda._sleep(100_000_000)
    last = cuda.record()
    assert not last.is_done
    last.wait()
    assert clock.time_s(last) - clock.time_s(first) > 0.01


def test_mapped_memory_is_registered_once_and_an_error_leaves_nothing_behind(cuda: Device) -> None:
    memory = mmap.mmap(-1, 1 << 20)
    view = torch.frombuffer(memory, dtype=torch.uint8)
    assert cuda.register(view.data_ptr(), 1 << 20)
    assert view.is_pinned()
    assert not cuda.register(view.data_ptr(), 1 << 20)
    assert torch.ones(3, device=cuda.torch_device).sum().item() == 3  # the error is not found here
    cuda.unregister(view.data_ptr())
    assert not view.is_pinned()


def test_memory_and_description_are_the_cards(cuda: Device) -> None:
    memory = cuda.memory()
    assert memory is not None
    assert 0 < memory.free_bytes <= memory.total_bytes
    assert cuda.describe()["gpu"] == torch.cuda.get_device_name(0)
    assert cuda.describe()["reduced_precision_reduction"] == "off"
    assert not cuda.is_lost()


def test_a_pool_of_graphs_tells_what_it_has_reserved(cuda: Device) -> None:
    pool, x = cuda.graph_pool(), torch.ones(1, device=cuda.torch_device)
    assert pool is not None
    size_bytes = 64 << 20
    before = torch.cuda.memory_reserved(cuda.torch_device)
    captured = pool.capture(lambda: (x.expand(size_bytes // 4).contiguous().sum(),))
    assert size_bytes <= pool.reserved_bytes <= torch.cuda.memory_reserved(cuda.torch_device) - before
    captured.graph.replay()
    assert float(captured.outputs[0]) == size_bytes // 4
    pool.renew()
    assert pool.reserved_bytes == 0
