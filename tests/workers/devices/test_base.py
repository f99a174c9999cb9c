import torch

from tests.fake_device import FakeDevice
from workers.devices.cpu import CPUDevice


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
