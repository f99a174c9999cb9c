"""Reads the header of a safetensors file without loading it (and without torch).

Format: 8 bytes little-endian header length, JSON ``{name: {dtype, shape, data_offsets}}``, data.
https://github.com/huggingface/safetensors#format
"""

import json
from math import prod
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from shared.errors import InvalidLora

#: The reference implementation refuses longer headers.
MAX_HEADER_BYTES = 100_000_000
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


def header_bytes(start: bytes, file_bytes: int) -> int:
    """Length of the JSON header, from the first 8 bytes of a file of ``file_bytes``."""
    if len(start) < LENGTH_BYTES:
        raise InvalidLora("not a safetensors file: shorter than its own header length")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES or LENGTH_BYTES + length > file_bytes:
        raise InvalidLora(
            f"not a safetensors file: it announces a header of {length} bytes, has {file_bytes}"
        )
    return length


def parse_header(header: bytes, file_bytes: int) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """The tensors and the metadata; raises `InvalidLora` unless every byte is accounted for."""
    try:
        raw = json.loads(header)
    except (ValueError, RecursionError):
        raise InvalidLora("not a safetensors file: its header is no JSON") from None
    if not isinstance(raw, dict):
        raise InvalidLora("not a safetensors file: its header is no JSON object")
    metadata = raw.pop("__metadata__", {})
    try:
        tensors = _HEADER.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidLora(f"safetensors header: {where}: {first['msg']}") from None
    _check_offsets(tensors, file_bytes - LENGTH_BYTES - len(header))
    return tensors, {str(key): str(value) for key, value in metadata.items()}


def _check_offsets(tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    """Tensors must fill the data without gap or overlap, each as long as its shape says."""
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        start, stop = info.data_offsets
        if start != end or (stop - start) * 8 != prod(info.shape) * _BITS[info.dtype]:
            raise InvalidLora(f"safetensors header: offsets of {name!r} do not fit its shape")
        end = stop
    if end != data_bytes:
        raise InvalidLora(f"safetensors file: {data_bytes} bytes of data, its header says {end}")
