"""How a tensor is written as bytes: a JSON header that describes it, then its raw bytes. No pickle.

``magic (4) | header length (uint32, little-endian) | header (JSON) | tensor bytes``

A tensor in channels-last memory format (a VAE's output, a control image, a residual of a model that computes
in it) keeps that format: a convolution over it sums in another order. Its bytes then lie pixel by pixel, and
the header says so.
"""

import json
import math
import struct
from typing import Any

import torch
from torch import Tensor

from shared.errors import SwiftError

MAGIC = b"SDT1"
_PREFIX = struct.Struct("<4sI")
_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "uint8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class InvalidFrame(SwiftError):
    """A value at the residual server that no worker of this version wrote."""

    code = "bad_frame"


def pack(header: dict[str, Any], tensor: Tensor | None = None) -> bytes:
    """One frame: ``header`` and, if given, a tensor of any shape."""
    if tensor is None:
        return pack_bytes(header)
    tensor = tensor.detach().to("cpu")
    described = {**header, "dtype": name_of(tensor.dtype), "shape": list(tensor.shape)}
    if is_channels_last(tensor):
        described["channels_last"] = True
    return pack_bytes(described, bytes_of(flat_bytes(tensor)))


def pack_bytes(header: dict[str, Any], data: bytes | memoryview = b"") -> bytes:
    """One frame: ``header``, and bytes that it describes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((_PREFIX.pack(MAGIC, len(text)), text, data))


def unpack(frame: bytes) -> tuple[dict[str, Any], Tensor | None]:
    """The header, and the tensor if there is one; raises `InvalidFrame`."""
    header, data = unpack_bytes(frame)
    if "dtype" not in header:
        return header, None
    try:
        dtype, shape = dtype_of(header.pop("dtype")), header.pop("shape")
        if len(data) != size_bytes(dtype, shape):
            raise InvalidFrame(f"{len(data)} bytes cannot be a {dtype} of shape {shape}")
        flat = tensor_over(memoryview(bytearray(data))).view(dtype)
        return header, shaped(flat, shape, channels_last=header.pop("channels_last", False))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InvalidFrame(f"not a frame: {error}") from error


def unpack_bytes(frame: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header, and the bytes that follow it; raises `InvalidFrame`."""
    try:
        magic, length = _PREFIX.unpack_from(frame)
        start = _PREFIX.size + length
        if magic != MAGIC or start > len(frame):
            raise InvalidFrame("not a frame: it begins differently, or is cut off")
        header = json.loads(frame[_PREFIX.size : start])
    except (struct.error, ValueError) as error:
        raise InvalidFrame(f"not a frame: {error}") from error
    if not isinstance(header, dict):
        raise InvalidFrame("not a frame: its header is not an object")
    return header, memoryview(frame)[start:]


def name_of(dtype: torch.dtype) -> str:
    """The name of a dtype in headers; raises `KeyError` for one that is never sent."""
    return _NAMES[dtype]


def dtype_of(name: str) -> torch.dtype:
    """The dtype of that name; raises `InvalidFrame`."""
    if name not in _DTYPES:
        raise InvalidFrame(f"no tensor of dtype {name!r} is ever sent")
    return _DTYPES[name]


def size_bytes(dtype: torch.dtype, shape: list[int]) -> int:
    """How much memory such a tensor takes."""
    return math.prod(shape) * dtype.itemsize


def flat_bytes(tensor: Tensor) -> Tensor:
    """The numbers of a tensor as ``uint8``, ``(n,)``, in the order in which they lie in its memory.

    Not a copy, unless the memory has gaps or is in an order that is not kept.
    """
    dense = tensor.permute(0, 2, 3, 1) if is_channels_last(tensor) else tensor.contiguous()
    return dense.reshape(-1).view(torch.uint8)


def shaped(flat: Tensor, shape: list[int], *, channels_last: bool) -> Tensor:
    """A tensor over the numbers of `flat_bytes`, ``(n,)``; raises `RuntimeError` if they do not fit."""
    if not channels_last:
        return flat.view(shape)
    rows, channels, height, width = shape
    return flat.view(rows, height, width, channels).permute(0, 3, 1, 2)


def bytes_of(flat: Tensor) -> memoryview:
    """The memory of ``uint8``, ``(n,)`` on the CPU."""
    array: Any = flat.numpy()
    return memoryview(array)


def tensor_over(memory: memoryview) -> Tensor:
    """``uint8``, ``(n,)``, over these bytes, not a copy; it keeps the view alive."""
    return torch.frombuffer(memory, dtype=torch.uint8) if len(memory) else torch.empty(0, dtype=torch.uint8)


def is_channels_last(tensor: Tensor) -> bool:
    """Whether a tensor of images lies in memory pixel by pixel, and not channel by channel."""
    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
