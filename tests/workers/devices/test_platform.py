"""The platform of a process: what its bits depend on."""

import torch

from workers.devices.platform import describe_platform
from workers.devices.selection import find_device


def test_the_platform_says_what_the_bits_of_a_cpu_depend_on() -> None:
    platform = describe_platform(find_device("cpu"))
    assert (platform.device, platform.accelerator) == ("cpu", {})
    assert platform.threads == torch.get_num_threads()
    assert torch.backends.cpu.get_cpu_capability() in platform.processor
    assert platform.versions["torch"]


def test_what_a_gpu_computes_does_not_depend_on_the_cpu() -> None:
    cpu = describe_platform(find_device("cpu"))
    gpu = cpu.model_copy(update={"device": "cuda", "accelerator": {"name": "a card"}})
    other_cpu = {"threads": cpu.threads + 1, "processor": "another"}
    assert gpu.model_copy(update=other_cpu).digest == gpu.digest
    assert cpu.model_copy(update=other_cpu).digest != cpu.digest
