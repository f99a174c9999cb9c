import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from shared.errors import DeviceFull, DeviceLost, ModelFailed
from tests.fake_device import FakeDevice
from workers.devices.base import MemoryInfo
from workers.runtime.device_memory import DeviceMemory, clear_frames
from workers.runtime.model_cache import ModelCache

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


@dataclass
class Thing:
    name: str
    weight_bytes: int = 10


class Activation:
    """Notes its end."""

    def __init__(self, freed: list[str]) -> None:
        self._freed = freed

    def __del__(self) -> None:
        self._freed.append("activation")


class FailingTimes:
    """Fails so many times with ``error``, then returns "done"; holds an activation meanwhile."""

    def __init__(self, times: int, error: Callable[[], Exception]) -> None:
        self.calls = 0
        self.freed: list[str] = []
        self.freed_before: list[int] = []
        self._times, self._error = times, error

    def __call__(self) -> str:
        self.calls += 1
        self.freed_before.append(len(self.freed))
        activation = Activation(self.freed)
        if self.calls <= self._times:
            raise self._error() from KeyError(str(activation))
        return "done"


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError(FULL)


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice(memory=MemoryInfo(1 << 30, 80 << 30))


def load(memory: DeviceMemory, *names: str) -> ModelCache[Thing]:
    models = ModelCache(Thing, memory)
    for name in names:
        with models.use(name):
            pass
    return models


def test_work_is_tried_once_more_with_nothing_idle_on_the_device(device: FakeDevice) -> None:
    memory = DeviceMemory(100, device)
    models = load(memory, "idle", "used")
    work = FailingTimes(1, out_of_memory)
    with models.use("used"):
        assert memory.retry_when_full(work) == "done"
        # Then the idle model is gone, what torch kept is given back, and the activations are freed
        assert models.names() == ["used"]
        assert device.log == ["release cached"]
        assert work.freed_before == [0, 1]
    memory.models.check()


def test_a_device_that_stays_full_is_said_with_what_takes_its_memory(device: FakeDevice) -> None:
    memory = DeviceMemory(60 << 30, device)
    memory.count(lambda: 3 << 30, lambda: None)
    models = load(memory)
    work = FailingTimes(2, out_of_memory)
    with models.use("sdxl") as model:
        model.weight_bytes = 7 << 30
        with pytest.raises(DeviceFull) as raised:
            memory.retry_when_full(work)
    assert work.calls == 2
    assert str(raised.value) == (
        f"cpu has too little memory: OutOfMemoryError: {FULL}; loaded are 'sdxl' with 7.00 GiB, and 3.00 GiB"
        " beside; of all processes' 80.00 GiB, 1.00 GiB are free"
    )


@pytest.mark.parametrize("error", [ModelFailed("cut off"), ValueError("no"), DeviceLost("lost")])
def test_other_errors_are_not_tried_again(device: FakeDevice, error: Exception) -> None:
    memory = DeviceMemory(100, device)
    work = FailingTimes(1, lambda: error)
    with pytest.raises(type(error)):
        memory.retry_when_full(work)
    assert (work.calls, device.log) == (1, [])


def test_a_model_that_does_not_fit_is_loaded_once_the_others_are_gone(device: FakeDevice) -> None:
    memory = DeviceMemory(100, device)
    idle = load(memory, "idle")
    beside: list[int] = []

    def load_large(name: str) -> Thing:
        beside.append(len(idle.names()))
        if idle.names():
            raise torch.OutOfMemoryError(FULL)
        return Thing(name, 90)

    with ModelCache(load_large, memory).use("large") as large:
        assert large.weight_bytes == 90
    assert beside == [1, 0]
    memory.models.check()


def test_a_model_for_which_the_device_is_too_full_may_be_tried_by_the_next_job(device: FakeDevice) -> None:
    # The memory may be that of another process: this is no fault of the model's files.
    memory = DeviceMemory(100, device)
    fails = iter([True, True, False])

    def load_when_free(name: str) -> Thing:
        if next(fails):
            raise torch.OutOfMemoryError(FULL)
        return Thing(name)

    models = ModelCache(load_when_free, memory)
    with pytest.raises(DeviceFull), models.use("a"):
        pass
    assert models.failed() == {}
    memory.models.check()
    with models.use("a"):
        memory.models.check()


def test_what_lies_beside_the_models_counts_and_gives_way_to_them(device: FakeDevice) -> None:
    memory = DeviceMemory(20, device)
    others = [8]
    memory.count(lambda: others[0], lambda: others.__setitem__(0, 0))
    models = ModelCache(Thing, memory, lambda name: 10)
    with models.use("a"):
        pass
    assert memory.models.used_bytes() == 18
    with models.use("b"):  # "a" is idle: it goes first
        assert (models.names(), others) == (["b"], [8])
        with models.use("c"):
            assert (models.names(), others) == (["b", "c"], [0])


def test_frames_of_every_error_of_a_chain_are_cleared() -> None:
    freed: list[str] = []

    def inner() -> None:
        activation = Activation(freed)
        raise KeyError(str(activation))

    def generate() -> Iterator[int]:
        activation = Activation(freed)
        yield 1
        raise ValueError(str(activation)) from _error_of(inner)

    try:
        list(generate())
    except ValueError as error:
        assert freed == []
        clear_frames(error)
        assert freed == ["activation"] * 2


def _error_of(function: Callable[[], None]) -> Exception:
    try:
        function()
    except KeyError as error:
        return error
    raise AssertionError


def test_work_for_which_a_gpu_is_too_full_fits_once_its_activations_are_freed(cuda: Any) -> None:
    memory = DeviceMemory(1 << 40, cuda)
    free_bytes = cuda.memory().free_bytes
    idle = ModelCache(lambda name: Weights(free_bytes // 2), memory)
    with idle.use("idle"):
        pass
    peaks: list[int] = []

    def compute() -> int:
        # Two thirds of the memory, of which the idle model takes half
        activation = torch.zeros(free_bytes // 3, dtype=torch.uint8, device=cuda.torch_device)
        peaks.append(torch.cuda.memory_allocated())
        more = torch.zeros(free_bytes // 3, dtype=torch.uint8, device=cuda.torch_device)
        return len(activation) + len(more)

    assert memory.retry_when_full(compute) == 2 * (free_bytes // 3)
    assert (len(peaks), idle.names()) == (2, [])
    assert peaks[1] < peaks[0]
    memory.models.check()
    cuda.release_cached()


class Weights:
    """Takes memory of the GPU."""

    def __init__(self, weight_bytes: int) -> None:
        self.weight_bytes = weight_bytes
        self.tensor = torch.zeros(weight_bytes, dtype=torch.uint8, device="cuda")


class LockedWhileLoading(FakeDevice):
    """As on CUDA, nobody but a load's own thread waits for the device meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()

    def loading(self) -> AbstractContextManager[object]:
        return self.lock

    def synchronize(self) -> None:
        assert self.lock.acquire(timeout=10)
        self.lock.release()
        super().synchronize()


@pytest.mark.parametrize("gives_way", [False, True])
def test_a_load_may_wait_for_the_device(gives_way: bool) -> None:
    device = LockedWhileLoading()
    memory = DeviceMemory(20, device)
    memory.load(device.synchronize, gives_way=gives_way)
    assert device.log == ["synchronize"]
