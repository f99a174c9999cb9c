"""How a tensor looks on the wire: a JSON head that says what it is, then its raw bytes. No pickle.

``magic (4) | head length (uint32, little-endian) | head (JSON) | tensor bytes (C order)``

A picture's tensor whose channels lie last in memory (a VAE's, of an image) arrives as one: a convolution
sums in another order over it.
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


def pack(head: dict[str, Any], tensor: Tensor | None = None) -> bytes:
    """One value: ``head`` and, if given, a tensor of any shape."""
    if tensor is None:
        return pack_bytes(head)
    tensor = tensor.detach().to("cpu")
    if _has_channels_last(tensor):
        head, tensor = {**head, "channels_last": True}, tensor.permute(0, 2, 3, 1)
    flat = tensor.contiguous()
    return pack_bytes({**head, "dtype": name_of(flat.dtype), "shape": list(flat.shape)}, bytes_of(flat))


def pack_bytes(head: dict[str, Any], data: bytes | memoryview = b"") -> bytes:
    """One value: ``head``, and bytes that it explains."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((_PREFIX.pack(MAGIC, len(text)), text, data))


def unpack(value: bytes) -> tuple[dict[str, Any], Tensor | None]:
    """The head, and the tensor if there is one; raises `InvalidFrame`."""
    head, data = unpack_bytes(value)
    if "dtype" not in head:
        return head, None
    try:
        dtype, shape = dtype_of(head.pop("dtype")), head.pop("shape")
        tensor = tensor_from(memoryview(bytearray(data)), dtype, shape)
        return head, tensor.permute(0, 3, 1, 2) if head.pop("channels_last", False) else tensor
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InvalidFrame(f"a value that is no frame: {error}") from error


def _has_channels_last(tensor: Tensor) -> bool:
    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def unpack_bytes(value: bytes) -> tuple[dict[str, Any], memoryview]:
    """The head, and what follows it; raises `InvalidFrame`."""
    try:
        magic, length = _PREFIX.unpack_from(value)
        start = _PREFIX.size + length
        if magic != MAGIC or start > len(value):
            raise InvalidFrame("a value that does not begin like a frame, or is cut")
        head = json.loads(value[_PREFIX.size : start])
    except (struct.error, ValueError) as error:
        raise InvalidFrame(f"a value that is no frame: {error}") from error
    if not isinstance(head, dict):
        raise InvalidFrame("a head that is no object")
    return head, memoryview(value)[start:]


def name_of(dtype: torch.dtype) -> str:
    """How a dtype is called in heads."""
    return _NAMES[dtype]


def dtype_of(name: str) -> torch.dtype:
    """The dtype of that name; raises `InvalidFrame`."""
    if name not in _DTYPES:
        raise InvalidFrame(f"no tensor here is of {name!r}")
    return _DTYPES[name]


def size_bytes(dtype: torch.dtype, shape: list[int]) -> int:
    """How much memory such a tensor takes."""
    return math.prod(shape) * dtype.itemsize


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    array: Any = tensor.flatten().view(torch.uint8).numpy()
    return memoryview(array)


def tensor_from(memory: memoryview, dtype: torch.dtype, shape: list[int]) -> Tensor:
    """A tensor whose elements are these bytes, not a copy; it keeps the view. Raises `InvalidFrame`."""
    if len(memory) != size_bytes(dtype, shape):
        raise InvalidFrame(f"{len(memory)} bytes are no {dtype} of shape {shape}")
    if not len(memory):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
