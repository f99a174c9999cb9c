"""How a tensor is written as bytes: a JSON header that describes it, then its raw bytes. No pickle.

``magic (4) | header length (uint32, little-endian) | header (JSON) | tensor bytes (C order)``

A tensor of images in channels-last memory format (a VAE's output, or a control image) keeps that format: a
convolution over it sums in another order.
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
    if _is_channels_last(tensor):
        header, tensor = {**header, "channels_last": True}, tensor.permute(0, 2, 3, 1)
    flat = tensor.contiguous()
    return pack_bytes({**header, "dtype": name_of(flat.dtype), "shape": list(flat.shape)}, bytes_of(flat))


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
        tensor = tensor_from(memoryview(bytearray(data)), dtype, shape)
        return header, tensor.permute(0, 3, 1, 2) if header.pop("channels_last", False) else tensor
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


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    array: Any = tensor.flatten().view(torch.uint8).numpy()
    return memoryview(array)


def tensor_from(memory: memoryview, dtype: torch.dtype, shape: list[int]) -> Tensor:
    """A tensor over these bytes, not a copy; it keeps the view alive. Raises `InvalidFrame`."""
    if len(memory) != size_bytes(dtype, shape):
        raise InvalidFrame(f"{len(memory)} bytes cannot be a {dtype} of shape {shape}")
    if not len(memory):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def _is_channels_last(tensor: Tensor) -> bool:
    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
