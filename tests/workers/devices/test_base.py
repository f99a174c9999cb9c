import torch

from tests.fake_device import FakeDevice
from workers.devices.base import DeviceCopy
from workers.devices.streamless import CPUDevice


def test_a_copy_on_its_way_calls_its_function_only_when_the_result_is_asked_for() -> None:
    device, seen = FakeDevice(), []
    pending = device.to_host(torch.ones(2)).then(lambda tensor: seen.append(tensor.tolist()))
    assert seen == []  # more work can be submitted first
    pending.result()
    pending.result()
    assert seen == [[1.0, 1.0]]


def test_a_copy_that_is_there_calls_its_function_at_once() -> None:
    seen: list[list[float]] = []
    CPUDevice(torch.device("cpu")).to_host(torch.ones(2)).then(lambda tensor: seen.append(tensor.tolist()))
    assert seen == [[1.0, 1.0]]


def test_a_copy_into_given_memory_holds_nonsense_until_it_was_waited_for() -> None:
    memory = torch.zeros(2)
    copy = FakeDevice().to_host(torch.ones(2), into=memory)
    assert not copy.is_done
    assert memory.isnan().all()
    assert copy.wait() is copy.target is memory
    assert memory.tolist() == [1.0, 1.0]


def test_the_stream_that_uses_a_tensor_of_a_side_stream_waits_for_it() -> None:
    device = FakeDevice()
    with device.on_stream("in"):
        copy = DeviceCopy(device, torch.ones(2), device.record())
    copy.follow()
    assert device.log == ["record 1 on in", "compute follows 1"]  # and this thread waits for nothing
