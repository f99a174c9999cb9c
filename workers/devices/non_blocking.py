"""Replaces calls of torch that would wait for the device, in code of libraries.

diffusers' schedulers sample their noise on the CPU (``randn_tensor`` with CPU generators) and move it, and
small tables, to the device by ``.to(device)``. From pageable memory that waits until the device has done
everything that was submitted before.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from workers.devices.base import Device


class NonBlockingCalls(TorchFunctionMode):
    """See `Device.non_blocking`; of the calling thread."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self._device = device
        self._replaced: dict[Callable[..., Any], Callable[..., Any]] = {
            torch.Tensor.to: self._to,
            torch.Tensor.__getitem__: self._getitem,
            torch.tensor: self._tensor,
            torch.linalg.solve: _solve,
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self._replaced.get(func, func)(*args, **(kwargs or {}))

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        target = _target(args, kwargs)
        is_to_device = target is not None and target.type == self._device.torch_device.type
        if is_to_device and tensor.device.type == "cpu":
            tensor = self._device.from_host(tensor)
        return tensor.to(*args, **kwargs)

    def _tensor(self, data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        made = torch.tensor(data, **kwargs)
        return made if device is None else self._to(made, device)

    def _getitem(self, tensor: Tensor, index: Any) -> Tensor:
        if isinstance(index, list):  # torch would make a tensor of it, and copy that
            index = torch.tensor(index)
        if isinstance(index, Tensor) and index.dim():  # a scalar is read here, as a number
            index = self._to(index, tensor.device)
        return tensor[index]


def _solve(a: Tensor, b: Tensor) -> Tensor:
    """The same solver without its question whether ``a`` is singular: then the result is not finite."""
    solved: Tensor = torch.linalg.solve_ex(a, b).result
    return solved


def _target(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device | None:
    """Where ``Tensor.to`` moves a tensor; ``None``: it stays."""
    for value in (*args[:1], kwargs.get("device"), kwargs.get("other")):
        if isinstance(value, Tensor):
            return value.device
        if isinstance(value, str | torch.device):
            return torch.device(value)
    return None
