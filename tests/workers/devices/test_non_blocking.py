"""Calls of torch that would wait for a device, and what replaces them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.fake_device import FakeDevice
from tests.meta_device import META, MetaDevice, NoWaits

HOST = torch.arange(4.0)
#: Each is given a tensor of the device, ``(4,)``.
CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "to a device": lambda x: x + HOST.to(x.device),
    "to a device and type": lambda x: x + HOST.to(x.device, torch.float64),
    "to a device by name": lambda x: x + HOST.to(device=str(x.device)),
    "to another tensor's": lambda x: x + HOST.to(x),
    "a tensor of numbers": lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device),
    "a list as index": lambda x: x[[0, 2]],
    "a tensor of the host as index": lambda x: x[torch.tensor([0, 2])],
    "a linear system": lambda x: torch.linalg.solve(torch.eye(4, device=x.device) + x, x),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_would_wait_is_replaced(name: str) -> None:
    device = MetaDevice()
    device.leave_cpu()
    x = device.from_host(HOST)
    with torch.inference_mode(), NoWaits(device):
        with pytest.raises(AssertionError, match="would wait"):
            CALLS[name](x)
        with device.non_blocking():
            assert CALLS[name](x).device == META


@pytest.mark.parametrize("name", CALLS)
def test_what_replaces_a_call_has_its_bits(name: str) -> None:
    expected = CALLS[name](HOST)
    with FakeDevice().non_blocking():
        found = CALLS[name](HOST)
    assert torch.equal(found, expected)
    assert found.dtype == expected.dtype


def test_scalars_of_the_host_stay_there_as_an_index() -> None:
    device = MetaDevice()
    device.leave_cpu()
    table = device.from_host(HOST)
    with NoWaits(device), device.non_blocking():
        assert table[torch.tensor(2)].shape == ()
    assert device.log.count("from host") == 1
