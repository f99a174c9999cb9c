import time

import torch

from workers.devices.streamless import CPUDevice

CPU = CPUDevice(torch.device("cpu"))


def test_copies_of_a_cpu_are_the_tensors_themselves() -> None:
    tensor = torch.ones(3)
    assert CPU.to_host(tensor).wait().data_ptr() == tensor.data_ptr()
    assert CPU.from_host(tensor) is tensor


def test_events_have_happened_and_know_when() -> None:
    clock, before = CPU.start_clock(), time.time()
    with CPU.on_stream("out"):
        event = CPU.record()
    assert event.is_done
    assert before <= clock.time_s(event) <= time.time()


def test_the_memory_of_a_cpu_is_not_its_own() -> None:
    assert CPU.memory() is None
    assert not CPU.is_lost()
