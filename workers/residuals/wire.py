"""How a tensor looks on the wire: a JSON head that says what it is, then its raw bytes. No pickle.

``magic (4) | head length (uint32, little-endian) | head (JSON) | tensor bytes (C order)``
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


class BadFrame(SwiftError):
    """A value at the residual server that no worker of this version wrote."""

    code = "bad_frame"


def pack(head: dict[str, Any], tensor: Tensor | None = None) -> bytes:
    """One value: ``head`` and, if given, a tensor of any shape."""
    data: Any = b""
    if tensor is not None:
        flat = tensor.detach().to("cpu").contiguous()
        head = {**head, "dtype": _NAMES[flat.dtype], "shape": list(flat.shape)}
        data = _bytes_of(flat)
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((_PREFIX.pack(MAGIC, len(text)), text, data))


def unpack(value: bytes) -> tuple[dict[str, Any], Tensor | None]:
    """The head, and the tensor if there is one; raises `BadFrame`."""
    try:
        magic, length = _PREFIX.unpack_from(value)
        start = _PREFIX.size + length
        if magic != MAGIC or start > len(value):
            raise BadFrame("a value that does not begin like a frame, or is cut")
        head = json.loads(value[_PREFIX.size : start])
        if not isinstance(head, dict):
            raise BadFrame("a head that is no object")
        if "dtype" not in head:
            return head, None
        dtype, shape = _DTYPES[head.pop("dtype")], head.pop("shape")
        data = memoryview(value)[start:]
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise BadFrame(f"{len(data)} bytes are no {dtype} of shape {shape}")
        tensor = torch.empty(shape, dtype=dtype)
        if len(data):
            _bytes_of(tensor)[:] = data
        return head, tensor
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise BadFrame(f"a value that is no frame: {error}") from error


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    array: Any = tensor.flatten().view(torch.uint8).numpy()
    return memoryview(array)
