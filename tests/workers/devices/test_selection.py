import torch

from workers.devices.cpu import CPUDevice
from workers.devices.selection import find_device


def test_a_device_has_one_object_by_whatever_name() -> None:
    assert find_device("cuda") is find_device("cuda:0") is find_device(torch.device("cuda", 0))
    assert find_device("cuda:1") is not find_device("cuda:0")
    assert find_device("cuda:1").torch_device == torch.device("cuda", 1)


def test_what_has_no_streams_is_treated_as_a_cpu() -> None:
    assert isinstance(find_device("mps"), CPUDevice)
    assert find_device("cpu").torch_device == torch.device("cpu")
