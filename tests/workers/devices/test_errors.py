import pytest
import torch

from shared.errors import ControlNetFailed, DeviceFull, DeviceLost
from tests.fake_device import FakeDevice
from workers.devices.errors import device_error

ASSERT = "CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`"


def test_an_error_of_the_accelerator_means_that_the_device_is_lost() -> None:
    error = device_error(torch.AcceleratorError(ASSERT), FakeDevice())
    assert isinstance(error, DeviceLost)
    assert error.retryable
    assert str(error) == "cpu is lost: AcceleratorError: CUDA error: device-side assert triggered"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    ],
)
def test_every_way_to_say_out_of_memory_means_that_the_device_is_full(error: Exception) -> None:
    found = device_error(error, FakeDevice())
    assert isinstance(found, DeviceFull)
    assert found.retryable


def test_after_any_other_unexpected_error_the_device_is_asked() -> None:
    device, error = FakeDevice(), RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")
    assert device_error(error, device) is None
    device.lost = True
    assert isinstance(device_error(error, device), DeviceLost)


def test_an_error_that_was_raised_on_purpose_says_nothing_of_the_device() -> None:
    device = FakeDevice()
    device.lost = True
    assert device_error(ControlNetFailed("no"), device) is None
    assert device_error(KeyboardInterrupt(), device) is None
