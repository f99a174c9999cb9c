import torch

from workers.devices.selection import find_device
from workers.devices.streamless import CPUDevice, MPSDevice


def test_a_device_has_one_object_by_whatever_name() -> None:
    assert find_device("cuda") is find_device("cuda:0") is find_device(torch.device("cuda", 0))
    assert find_device("cuda:1") is not find_device("cuda:0")
    assert find_device("cuda:1").torch_device == torch.device("cuda", 1)


def test_a_cpu_and_an_apple_gpu_have_no_streams_and_are_not_the_same() -> None:
    cpu, mps = find_device("cpu"), find_device("mps")
    assert (type(cpu), type(mps)) == (CPUDevice, MPSDevice)
    # Work on a CPU is done when its call returns; of the other one nobody says how it sums
    assert (cpu.sums_in_float32, mps.sums_in_float32) == (True, False)
    assert (cpu.has_own_memory, mps.has_own_memory) == (False, True)
