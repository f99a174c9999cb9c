"""Reads and checks the header of a safetensors file, without its tensors (and without torch).

Format: 8 bytes little-endian header length, JSON ``{name: {dtype, shape, data_offsets}}``, data.
https://github.com/huggingface/safetensors#format
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

from shared.errors import InvalidSafetensors
from shared.storage.bounded_json import BoundedJsonReader, check_utf8

#: Trainers put captions and tags there. safetensors itself takes 100,000,000.
MAX_HEADER_BYTES = 32 << 20
#: SDXL's modules, all of them trained with seven tensors each, are about 8,000.
MAX_TENSORS = 20_000
MAX_DIMENSIONS = 8
MAX_DIMENSION = 2**40 - 1
MAX_METADATA_ENTRIES = 10_000
#: Longer values of the metadata are checked and left out: nobody here reads them.
MAX_METADATA_VALUE_BYTES = 4096
LENGTH_BYTES = 8

_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64,
}  # fmt: skip

_METADATA = "__metadata__"


class TensorInfo(NamedTuple):
    """One tensor of a file; offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        """Bytes of its data."""
        return self.data_offsets[1] - self.data_offsets[0]


class Header(NamedTuple):
    """A valid header: its tensors, its short metadata values, and the length that its file must have."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    file_bytes: int


def header_bytes(start: bytes, file_bytes: int | None = None) -> int:
    """Length of the JSON header, from a file's first 8 bytes; ``file_bytes`` is the file's, if known."""
    if len(start) < LENGTH_BYTES:
        raise InvalidSafetensors("not a safetensors file: shorter than its own header length")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if file_bytes is not None and LENGTH_BYTES + length > file_bytes:
        raise InvalidSafetensors(
            f"not a safetensors file: it announces a header of {length} bytes, has {file_bytes}"
        )
    if length > MAX_HEADER_BYTES:
        raise InvalidSafetensors(
            f"safetensors file: it announces a header of {length} bytes, the limit is {MAX_HEADER_BYTES}"
        )
    return length


def read_header(path: Path) -> Header:
    """The header of a whole file; raises `InvalidSafetensors`."""
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = header_bytes(file.read(LENGTH_BYTES), file_bytes)
        return parse_header(file.read(length), file_bytes)


def parse_header(header: bytes, file_bytes: int | None = None) -> Header:
    """Read the JSON of a header; raises `InvalidSafetensors` unless it accounts for every byte of the file.

    ``file_bytes`` is the file's length; None while the file still arrives, then the caller compares it.
    """
    check_utf8(header)
    reader = BoundedJsonReader(header)
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for name in reader.object_keys():
        if name == _METADATA:
            metadata = _read_metadata(reader)
        else:
            tensors[_check_printable(name)] = _check_description(name, reader.flat_object(name))
            if len(tensors) > MAX_TENSORS:
                raise InvalidSafetensors(f"safetensors header: more than {MAX_TENSORS} tensors")
    reader.expect_end()
    data_bytes = _check_offsets(tensors)
    announced = LENGTH_BYTES + len(header) + data_bytes
    if file_bytes is not None and file_bytes != announced:
        raise InvalidSafetensors(f"safetensors file: it has {file_bytes} bytes, its header says {announced}")
    return Header(tensors, metadata, announced)


def _read_metadata(reader: BoundedJsonReader) -> dict[str, str]:
    if reader.skip_null():
        return {}
    metadata = {}
    try:
        for count, key in enumerate(reader.object_keys()):
            if count == MAX_METADATA_ENTRIES:
                raise InvalidSafetensors(f"more than {MAX_METADATA_ENTRIES} entries")
            value = reader.string(MAX_METADATA_VALUE_BYTES)
            if value is not None:
                metadata[key] = value
    except InvalidSafetensors as error:
        raise InvalidSafetensors(f"{_METADATA} must be a JSON object of strings: {error}") from None
    return metadata


def _check_printable(name: str) -> str:
    """Refuse line breaks and control characters: names appear in logs and responses."""
    if not name.isprintable():
        raise InvalidSafetensors(
            f"safetensors header: the name {name!a} has characters that cannot be printed"
        )
    return name


def _check_description(name: str, described: object) -> TensorInfo:
    """What the header says about one tensor, checked but for its position in the file."""
    if not isinstance(described, dict) or not {"dtype", "shape", "data_offsets"} <= described.keys():
        raise InvalidSafetensors(f"safetensors header: {name!r} has no {{dtype, shape, data_offsets}}")
    dtype, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise InvalidSafetensors(f"safetensors header: {name!r} has the unknown dtype {dtype!a}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise InvalidSafetensors(
            f"safetensors header: {name!r} has no shape of at most {MAX_DIMENSIONS} dimensions"
        )
    if not all(type(size) is int and 1 <= size <= MAX_DIMENSION for size in shape):
        raise InvalidSafetensors(
            f"safetensors header: {name!r} has the shape {shape};"
            f" every dimension must be 1 to {MAX_DIMENSION}"
        )
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and 0 <= offset < 2**63 for offset in offsets)
    ):
        raise InvalidSafetensors(f"safetensors header: {name!r} has no data_offsets of two numbers of bytes")
    return TensorInfo(dtype, tuple(shape), (offsets[0], offsets[1]))


def _check_offsets(tensors: Mapping[str, TensorInfo]) -> int:
    """Check that tensors have no gaps or overlaps and fit their shapes; returns where the last one ends."""
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        start, stop = info.data_offsets
        if start != end or (stop - start) * 8 != prod(info.shape) * _BITS[info.dtype]:
            raise InvalidSafetensors(f"safetensors header: offsets of {name!r} do not fit its shape")
        end = stop
    return end
