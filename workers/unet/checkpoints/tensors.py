"""Many tensors as bytes one after the other, described by layouts. No pickle.

Unlike `workers.transport.wire`, which sends single tensors of a few types, this keeps any dense order of the
numbers in memory: the sums of a convolution depend on it, and so the last bits of the next step.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from shared.message_base import ShortText, StrictMessage
from workers.devices.base import Device, HostCopy
from workers.transport.wire import bytes_of

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


#: Of what torch can multiply without an overflow, also where another side is 0.
Side = Annotated[int, Field(ge=0, le=1 << 40)]


class TensorLayout(StrictMessage):
    """One tensor; its bytes are as many as its shape and type say."""

    dtype: ShortText
    shape: list[Side] = Field(max_length=8)
    stride: list[Side] = Field(max_length=8)
    is_on_device: bool = Field(description="else it is one that the worker keeps in the host's memory")


class TensorCopies:
    """Tensors on their way to the host's memory, each once; the loop adds them, another thread packs them."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._indices: dict[int, int] = {}  # id of a tensor: its number
        self._tensors: list[Tensor] = []  # kept, so that no other object gets their ids
        self._copies: list[HostCopy | Tensor] = []

    def add(self, tensor: Tensor) -> int:
        """Copy a tensor, which nobody may write to until it is packed; returns its number."""
        if id(tensor) not in self._indices:
            self._indices[id(tensor)] = len(self._tensors)
            self._tensors.append(tensor)
            is_there = tensor.is_cpu and self._device.has_own_memory
            self._copies.append(tensor if is_there else self._device.to_host(tensor))
        return self._indices[id(tensor)]

    @property
    def size_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.nbytes for tensor in self._tensors)

    def wait(self) -> list[Tensor]:
        """All of them in the host's memory, by their numbers."""
        return [copy.wait() if isinstance(copy, HostCopy) else copy for copy in self._copies]

    def pack(self) -> tuple[list[TensorLayout], bytes]:
        """The layouts, and the bytes of all; waits for the copies. Raises `KeyError` for an unknown type."""
        dense = [_dense(tensor) for tensor in self.wait()]
        layouts = [
            TensorLayout(
                dtype=_NAMES[copy.dtype],
                shape=list(copy.shape),
                stride=list(copy.stride()),
                is_on_device=not tensor.is_cpu,
            )
            for tensor, copy in zip(self._tensors, dense, strict=True)
        ]
        return layouts, b"".join(map(_bytes_of, dense))


def unpack_tensors(layouts: Iterable[TensorLayout], data: memoryview, device: Device) -> list[Tensor]:
    """The tensors of these bytes, where they lay; raises `ValueError` if they are not as described."""
    found, start = [], 0
    for layout in layouts:
        tensor, start = _unpack(layout, data, start)
        found.append(device.from_host(tensor) if layout.is_on_device else tensor)
    if start != len(data):
        raise ValueError(f"{len(data) - start} bytes more than the layouts describe")
    return found


def _unpack(layout: TensorLayout, data: memoryview, start: int) -> tuple[Tensor, int]:
    dtype = _DTYPES.get(layout.dtype)
    if dtype is None:
        raise ValueError(f"tensors of dtype {layout.dtype!r} are not stored")
    if any(side < 0 for side in layout.shape) or not _is_dense(layout.shape, layout.stride):
        raise ValueError(f"shape {layout.shape} does not lie in memory by {layout.stride}")
    end = start + math.prod(layout.shape) * dtype.itemsize
    if end > len(data):
        raise ValueError("the bytes of a tensor are missing")
    tensor = torch.empty_strided(layout.shape, layout.stride, dtype=dtype)
    if end > start:
        _bytes_of(tensor)[:] = data[start:end]
    return tensor, end


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a dense tensor on the CPU."""
    flat = tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    return bytes_of(flat.view(torch.uint8))


def _dense(tensor: Tensor) -> Tensor:
    """The tensor itself, or a contiguous copy where its memory has gaps or is used twice."""
    return tensor if _is_dense(tensor.shape, tensor.stride()) else tensor.contiguous()


def _is_dense(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether such a tensor uses each number of its memory once."""
    if len(shape) != len(stride):
        return False
    if 0 in shape:
        return True
    size = 1
    for step, side in sorted((step, side) for side, step in zip(shape, stride, strict=True) if side != 1):
        if step != size:
            return False
        size *= side
    return True
