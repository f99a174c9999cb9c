import subprocess
import sys
import threading
from typing import Any

import pytest
import torch

from shared.errors import ControlNetFailed, DeviceFull, DeviceLost
from tests.fake_device import FakeDevice
from workers.runtime.device_loss import STATUS, DeviceLoss


def make_loss(device: FakeDevice | None = None, stop_s: float = 600.0) -> tuple[DeviceLoss, list[str]]:
    ends: list[str] = []
    return DeviceLoss(device or FakeDevice(), stop_s=stop_s, end=ends.append), ends


def fail(loss: DeviceLoss, error: Exception) -> None:
    with loss.translate_errors():
        raise error


def test_a_lost_device_withdraws_the_worker_once_and_says_why() -> None:
    loss, _ = make_loss()
    withdrawn: list[bool] = []
    loss.on_loss(lambda: withdrawn.append(loss.is_lost))
    assert loss.problems() == []
    for _ in range(2):
        with pytest.raises(DeviceLost, match="cpu is lost: AcceleratorError: CUDA error"):
            fail(loss, torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    assert withdrawn == [True]
    [problem] = loss.problems()
    assert "illegal memory access" in problem


def test_nothing_begins_on_a_lost_device() -> None:
    loss, _ = make_loss()
    loss.check()
    loss.note(DeviceLost("cpu is lost"))
    with pytest.raises(DeviceLost, match="cpu is lost"):
        loss.check()


def test_an_unexpected_error_of_a_lost_device_is_its_loss() -> None:
    device = FakeDevice()
    loss, _ = make_loss(device)
    with pytest.raises(KeyError):
        fail(loss, KeyError("x"))
    device.lost = True
    with pytest.raises(DeviceLost):
        fail(loss, KeyError("x"))
    assert loss.is_lost


@pytest.mark.parametrize("error", [DeviceFull("no memory"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_full_device_is_not_lost(error: Exception) -> None:
    loss, _ = make_loss()
    with pytest.raises(DeviceFull):
        fail(loss, error)
    assert not loss.is_lost


def test_an_error_that_was_raised_on_purpose_stays_as_it_is() -> None:
    loss, _ = make_loss()
    error = ControlNetFailed("no")
    with pytest.raises(ControlNetFailed) as raised:
        fail(loss, error)
    assert raised.value is error


def test_a_process_that_does_not_stop_is_ended() -> None:
    # Given a worker whose shutdown hangs
    ended = threading.Event()
    loss = DeviceLoss(FakeDevice(), stop_s=0.0, end=lambda why: ended.set())
    loss.note(DeviceLost("cpu is lost"))
    assert ended.wait(30)


def test_a_withdrawal_that_fails_keeps_no_other_from_running() -> None:
    loss, _ = make_loss()
    withdrawn: list[str] = []

    def unregister() -> None:
        raise OSError("Redis is away")

    loss.on_loss(unregister)
    loss.on_loss(lambda: withdrawn.append("stopped"))
    loss.note(DeviceLost("cpu is lost"))
    assert withdrawn == ["stopped"]


def test_the_tensors_of_the_failed_computation_are_not_freed() -> None:
    # Torch would use the device to free them.
    loss, _ = make_loss()
    freed: list[str] = []

    class Activation:
        def __del__(self) -> None:
            freed.append("activation")

    def compute() -> None:
        activation = Activation()
        raise torch.AcceleratorError(f"CUDA error: device-side assert triggered {id(activation)}")

    try:
        with loss.translate_errors():
            compute()
    except DeviceLost:
        pass
    assert freed == []


#: A process whose shutdown hangs after the loss.
HANGS = """
import time
from shared.errors import DeviceLost
from shared.logs import configure_logs
from shared.settings import read_settings
from workers.devices.selection import find_device
from workers.runtime.device_loss import DeviceLoss
configure_logs(read_settings())
loss = DeviceLoss(find_device("cpu"), stop_s=0.2)
loss.on_loss(lambda: time.sleep(600))
loss.note(DeviceLost("cpu is lost"))
"""


def test_a_process_whose_shutdown_hangs_ends_with_the_same_status() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == STATUS, ended.stderr
    assert "it did not stop after cpu is lost" in ended.stderr


#: A process that loses a real device, and stops as a worker does.
LOSES_DEVICE = """
import torch
from shared.errors import DeviceLost
from workers.devices.selection import find_device
from workers.runtime.device_loss import DeviceLoss
loss = DeviceLoss(find_device("cuda"))
activation = torch.zeros(1 << 20, device="cuda")
try:
    with loss.translate_errors():
        activation[torch.tensor([1 << 30], device="cuda")].sum().item()
except DeviceLost as error:
    print(error, flush=True)
assert loss.usable_device is None
del activation
loss.exit_if_lost()
"""


def test_a_process_whose_gpu_is_lost_ends_with_the_status_and_nothing_else(cuda: Any) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOSES_DEVICE], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == STATUS, ended.stderr
    assert "cuda:0 is lost" in ended.stdout
