"""Reads the header of a safetensors file without loading it (and without torch).

Format: 8 bytes little-endian header length, JSON ``{name: {dtype, shape, data_offsets}}``, data.
https://github.com/huggingface/safetensors#format
"""

import json
from math import prod
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from shared.errors import InvalidLora

#: Real headers have some hundred bytes a module; this is room for many thousand modules.
MAX_HEADER_BYTES = 16 << 20
LENGTH_BYTES = 8

_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8,
}  # fmt: skip

_Size = Annotated[int, Field(ge=0, strict=True)]


class TensorInfo(BaseModel):
    """Where one tensor lies, from the end of the header on."""

    dtype: Literal["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: list[_Size]
    data_offsets: tuple[_Size, _Size]


_HEADER = TypeAdapter(dict[str, TensorInfo])


def header_bytes(start: bytes, file_bytes: int | None = None) -> int:
    """Length of the JSON header, from a file's first 8 bytes; ``file_bytes``: the file's, where known."""
    if len(start) < LENGTH_BYTES:
        raise InvalidLora("not a safetensors file: shorter than its own header length")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if file_bytes is not None and LENGTH_BYTES + length > file_bytes:
        raise InvalidLora(
            f"not a safetensors file: it announces a header of {length} bytes, has {file_bytes}"
        )
    if length > MAX_HEADER_BYTES:
        raise InvalidLora(f"not a safetensors file: it announces a header of {length} bytes")
    return length


class Header(NamedTuple):
    """A sound header: its tensors, its metadata, and how long its file must be."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    file_bytes: int


def parse_header(header: bytes, file_bytes: int | None = None) -> Header:
    """Read the JSON of a header; raises `InvalidLora` unless every byte is accounted for.

    ``file_bytes`` is the file's length; unset: it is still coming, and the caller counts.
    """
    try:
        raw = json.loads(header.decode())
    except (ValueError, RecursionError):
        raise InvalidLora("not a safetensors file: its header is no JSON") from None
    if not isinstance(raw, dict):
        raise InvalidLora("not a safetensors file: its header is no JSON object")
    metadata = raw.pop("__metadata__", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(told, str) for told in metadata.values()):
        raise InvalidLora("safetensors header: __metadata__ is no JSON object of strings")
    try:
        tensors = _HEADER.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidLora(f"safetensors header: {where}: {first['msg']}") from None
    data_bytes = _check_offsets(tensors)
    told = LENGTH_BYTES + len(header) + data_bytes
    if file_bytes is not None and file_bytes != told:
        raise InvalidLora(f"safetensors file: it has {file_bytes} bytes, its header says {told}")
    return Header(tensors, metadata, told)


def _check_offsets(tensors: dict[str, TensorInfo]) -> int:
    """Tensors must lie without gap or overlap, each as long as its shape says; returns where they end."""
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        start, stop = info.data_offsets
        if start != end or (stop - start) * 8 != prod(info.shape) * _BITS[info.dtype]:
            raise InvalidLora(f"safetensors header: offsets of {name!r} do not fit its shape")
        end = stop
    return end
