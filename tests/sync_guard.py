"""Finds calls of torch that would wait for a GPU, without one: tensors of the device are ``meta``.

What reads a number of a tensor there, or copies between it and the host in another way than by the `Device`,
waits until the device has done everything that was submitted before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.fake_device import FakeDevice
from workers.devices.base import HostCopy

aten: Any = torch.ops.aten
#: Their result is a number, or has a shape that depends on numbers.
READING = {
    aten._local_scalar_dense.default,
    aten.item.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
}


class WouldWait(AssertionError):
    """A call that would wait for the device."""


class SyncGuard(TorchDispatchMode):
    """``with SyncGuard():`` raises `WouldWait` at such a call in this thread."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in given}
        if "meta" in devices and (func in READING or _is_by_mask(func, given)):
            raise WouldWait(f"{func} reads from the device")
        result = func(*args, **kwargs)
        made = {leaf.device.type for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        is_mixed = func is aten.copy_.default and len(devices) > 1  # else a number of the host takes part
        if is_mixed or (made and devices and not made & devices) or (made == {"cpu"} and "meta" in devices):
            raise WouldWait(f"{func} copies between {sorted(devices | made)}")
        return result


class GuardedDevice(FakeDevice):
    """A device whose tensors are ``meta``; its own copies wait for nothing."""

    def __init__(self) -> None:
        super().__init__("meta")

    def from_host(self, tensor: Tensor) -> Tensor:
        with allowed():
            return super().from_host(tensor)

    def to_host(self, tensor: Tensor, into: Tensor | None = None) -> HostCopy:
        with allowed():
            return super().to_host(tensor, into)


@contextmanager
def allowed() -> Iterator[None]:
    """Within the block nothing is guarded."""
    with torch.utils._python_dispatch._disable_current_modes():
        yield


def _is_by_mask(func: Any, tensors: list[Tensor]) -> bool:
    is_index = func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)
    return is_index and any(tensor.dtype in (torch.bool, torch.uint8) for tensor in tensors[1:])
