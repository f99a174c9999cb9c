"""Reads the header of a safetensors file without loading it (and without torch).

Format: 8 bytes little-endian header length, JSON ``{name: {dtype, shape, data_offsets}}``, data.
https://github.com/huggingface/safetensors#format

Whoever writes a header may mean harm. It is read value by value, and each value is known to be small before
it becomes Python objects, so that time and memory are linear in its length (`infra/adr/0021-…`).
"""

import codecs
import json
import re
import time
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import InvalidLora

#: Trainers put captions and tags there. safetensors itself takes 100,000,000.
MAX_HEADER_BYTES = 32 << 20
#: SDXL's modules, all of them trained with seven tensors each, are about 8,000.
MAX_TENSORS = 20_000
MAX_NAME_BYTES = 500
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
_SPACE = re.compile(rb"[ \t\n\r]*+")
#: Characters of a JSON string. Surrogates are written in pairs.
_CHARACTERS = re.compile(
    rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]'
    rb"|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb')[^"\\\x00-\x1f]*+)*+'
)
#: What is said about one tensor: an object without objects in it.
_MAX_DESCRIPTION_BYTES = 1000
_DESCRIPTION = re.compile(rb"\{[^{}]{0,%d}+\}" % _MAX_DESCRIPTION_BYTES)
#: One call of a regular expression reads so much, and no other thread runs meanwhile.
_PIECE_BYTES = 64 << 10
#: The longest escape, of a surrogate pair.
_ESCAPE_BYTES = 12
#: After so many keys, and after each piece, other threads and gevent's greenlets run.
_KEYS_AT_ONCE = 128


class TensorInfo(NamedTuple):
    """Where one tensor lies, from the end of the header on."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        """Length of its data."""
        return self.data_offsets[1] - self.data_offsets[0]


class Header(NamedTuple):
    """A sound header: its tensors, its short metadata, and how long its file must be."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    file_bytes: int


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
        raise InvalidLora(
            f"safetensors file: it announces a header of {length} bytes, the limit is {MAX_HEADER_BYTES}"
        )
    return length


def read_header(path: Path) -> Header:
    """The header of a whole file; raises `InvalidLora`."""
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        length = header_bytes(file.read(LENGTH_BYTES), file_bytes)
        return parse_header(file.read(length), file_bytes)


def parse_header(header: bytes, file_bytes: int | None = None) -> Header:
    """Read the JSON of a header; raises `InvalidLora` unless every byte is accounted for.

    ``file_bytes`` is the file's length; unset: it is still coming, and the caller counts.
    """
    _check_utf8(header)
    reader = _JsonReader(header)
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for name in reader.object_keys():
        if name == _METADATA:
            metadata = _read_metadata(reader)
        else:
            tensors[_printable(name)] = _describe(name, reader.description(name))
            if len(tensors) > MAX_TENSORS:
                raise InvalidLora(f"safetensors header: more than {MAX_TENSORS} tensors")
    reader.expect_end()
    data_bytes = _check_offsets(tensors)
    announced = LENGTH_BYTES + len(header) + data_bytes
    if file_bytes is not None and file_bytes != announced:
        raise InvalidLora(f"safetensors file: it has {file_bytes} bytes, its header says {announced}")
    return Header(tensors, metadata, announced)


class _JsonReader:
    """Steps through JSON of a known form; raises `InvalidLora` where it has another form."""

    def __init__(self, text: bytes) -> None:
        self._text, self._at = text, 0

    def object_keys(self) -> Iterator[str]:
        """The keys of the object that comes next; the caller reads each value before the next key."""
        self._expect(b"{")
        seen: set[str] = set()
        while not self._has(b"}"):
            if seen:
                self._expect(b",")
            key = self.string(MAX_NAME_BYTES)
            if key is None:
                raise InvalidLora(f"safetensors header: a name has more than {MAX_NAME_BYTES} bytes")
            if key in seen:
                raise InvalidLora(f"safetensors header: {key!r} is there twice")
            seen.add(key)
            if len(seen) % _KEYS_AT_ONCE == 0:
                time.sleep(0)
            self._expect(b":")
            yield key

    def string(self, limit_bytes: int) -> str | None:
        """The string that comes next; None if it is longer than ``limit_bytes``, as it is written."""
        self._expect(b'"')
        start = self._at
        while self._read_piece():
            time.sleep(0)
        stop = self._at
        if self._text[stop : stop + 1] != b'"':
            raise self._refusal()
        self._at += 1
        if stop - start > limit_bytes:
            return None
        return str(json.loads(self._text[start - 1 : stop + 1]))

    def description(self, name: str) -> object:
        """The small value of ``name``, as Python has it."""
        self._skip_space()
        match = _DESCRIPTION.match(self._text, self._at)
        if match is None:
            raise InvalidLora(
                f"safetensors header: {name!r} has no {{dtype, shape, data_offsets}}"
                f" of at most {_MAX_DESCRIPTION_BYTES} bytes"
            )
        self._at = match.end()
        try:
            return json.loads(match[0], object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError):
            raise InvalidLora(f"safetensors header: {name!r} is described by no JSON object") from None

    def has_null(self) -> bool:
        """Step over ``null``, if that comes next."""
        return self._has(b"null")

    def expect_end(self) -> None:
        """Only white space may come."""
        self._skip_space()
        if self._at < len(self._text):
            raise self._refusal()

    def _read_piece(self) -> bool:
        """Step over a piece of a string; returns whether there may be more of it."""
        start, stop = self._at, self._at + _PIECE_BYTES
        match = _CHARACTERS.match(self._text, start, stop)
        self._at = match.end() if match else start
        return self._at > stop - _ESCAPE_BYTES  # an escape may be cut by the end of the piece

    def _has(self, token: bytes) -> bool:
        self._skip_space()
        found = self._text.startswith(token, self._at)
        self._at += len(token) if found else 0
        return found

    def _expect(self, token: bytes) -> None:
        if not self._has(token):
            raise self._refusal()

    def _skip_space(self) -> None:
        while match := _SPACE.match(self._text, self._at, self._at + _PIECE_BYTES):
            self._at = match.end()
            if match.end() - match.start() < _PIECE_BYTES:
                break
            time.sleep(0)

    def _refusal(self) -> InvalidLora:
        return InvalidLora(f"not a safetensors file: its header is no JSON of tensors, at byte {self._at}")


def _check_utf8(header: bytes) -> None:
    """By pieces: one character outside of Latin letters makes a decoded header four times as long."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(header)
    try:
        for start in range(0, len(header), _PIECE_BYTES):
            decoder.decode(view[start : start + _PIECE_BYTES])
            time.sleep(0)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise InvalidLora("not a safetensors file: its header is no UTF-8") from None


def _read_metadata(reader: _JsonReader) -> dict[str, str]:
    if reader.has_null():
        return {}
    metadata = {}
    try:
        for count, key in enumerate(reader.object_keys()):
            if count == MAX_METADATA_ENTRIES:
                raise InvalidLora(f"more than {MAX_METADATA_ENTRIES} entries")
            value = reader.string(MAX_METADATA_VALUE_BYTES)
            if value is not None:
                metadata[key] = value
    except InvalidLora as error:
        raise InvalidLora(f"{_METADATA} must be a JSON object of strings: {error}") from None
    return metadata


def _printable(name: str) -> str:
    """Names appear in logs and answers; no trainer writes line breaks or control characters."""
    if not name.isprintable():
        raise InvalidLora(f"safetensors header: the name {name!a} has characters that cannot be printed")
    return name


def _describe(name: str, described: object) -> TensorInfo:
    """What the header says about one tensor, checked but for the place where it lies."""
    if not isinstance(described, dict) or not {"dtype", "shape", "data_offsets"} <= described.keys():
        raise InvalidLora(f"safetensors header: {name!r} has no {{dtype, shape, data_offsets}}")
    dtype, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise InvalidLora(f"safetensors header: {name!r} has the unknown dtype {dtype!a}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise InvalidLora(f"safetensors header: {name!r} has no shape of at most {MAX_DIMENSIONS} dimensions")
    if not all(type(size) is int and 1 <= size <= MAX_DIMENSION for size in shape):
        raise InvalidLora(
            f"safetensors header: {name!r} has the shape {shape};"
            f" every dimension must be 1 to {MAX_DIMENSION}"
        )
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and 0 <= offset < 2**63 for offset in offsets)
    ):
        raise InvalidLora(f"safetensors header: {name!r} has no data_offsets of two numbers of bytes")
    return TensorInfo(dtype, tuple(shape), (offsets[0], offsets[1]))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values for one field, readers would take one or the other."""
    described = dict(pairs)
    if len(described) < len(pairs):
        raise ValueError("a field is there twice")
    return described


def _check_offsets(tensors: Mapping[str, TensorInfo]) -> int:
    """Tensors must lie without gap or overlap, each as long as its shape says; returns where they end."""
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        start, stop = info.data_offsets
        if start != end or (stop - start) * 8 != prod(info.shape) * _BITS[info.dtype]:
            raise InvalidLora(f"safetensors header: offsets of {name!r} do not fit its shape")
        end = stop
    return end
