"""Answers in JSON with images in base64, which are read, encoded and sent piece by piece.

A megabyte that no JSON encoder looks at, and of which no copies are made: in this process, which gives large
buffers back to the system, each costs more than its bytes.
"""

import io
import secrets
from binascii import b2a_base64
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from flask import Response
from pydantic import BaseModel

from shared.storage.object_store import Bucket

if TYPE_CHECKING:
    from botocore.response import StreamingBody

#: To compress images in base64 again takes longer than the rest of the answer.
HEADERS = {"Cache-Control": "no-store, no-transform"}
#: Of a piece: divisible by 3, as base64 wants it; in base64 it is below 128 KB, which the C library reuses.
PIECE_BYTES = 90 << 10


def _nothing() -> None:
    """Close nothing."""


class ImageFile(NamedTuple):
    """An image's file on its way into an answer, read once."""

    size_bytes: int
    read: Callable[[int], bytes]  # so many bytes; fewer at the end, then none
    close: Callable[[], None] = _nothing


def file_of(data: bytes) -> ImageFile:
    """A file that is in memory."""
    return ImageFile(len(data), io.BytesIO(data).read)


def stored_files(bucket: Bucket, keys: Sequence[str]) -> list[ImageFile]:
    """Files of a bucket, of which the first is open; the others are when they are read.

    Raises `NotFound` for any that is gone, and `Unavailable`, while an answer can still say so.
    """
    files = []
    for key in keys[:1]:
        size_bytes, body = bucket.open(key)
        files.append(ImageFile(size_bytes, body.read, body.close))
    try:
        for key in keys[1:]:
            later = _LaterFile(bucket, key)
            files.append(ImageFile(bucket.head(key).size_bytes, later.read, later.close))
    except BaseException:
        files[0].close()
        raise
    return files


def image_json(files: Sequence[ImageFile], make_body: Callable[[list[str]], BaseModel]) -> Response:
    """The answer that ``make_body`` makes of texts that stand for ``files``; sent is their base64 in place of
    each. It has them in their order, each once.
    """
    marks = [secrets.token_hex(16) for _ in files]  # nobody's prompt has one of them
    text, texts = make_body(marks).model_dump_json().encode(), list[bytes]()
    for mark in marks:
        before, found, text = text.partition(mark.encode())
        assert found, "the body has a place for each image, in their order"
        texts.append(before)
    response = Response(_join(texts, files, text), headers=HEADERS, mimetype="application/json")
    response.content_length = sum(map(len, [*texts, text])) + sum(map(_base64_bytes, files))
    for file in files:
        response.call_on_close(file.close)
    return response


def _join(texts: Sequence[bytes], files: Sequence[ImageFile], end: bytes) -> Iterator[bytes]:
    for text, file in zip(texts, files, strict=True):
        yield text
        yield from _in_base64(file.read)
    yield end


def _in_base64(read: Callable[[int], bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := read(PIECE_BYTES):
        data = rest + piece if rest else piece
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        yield b2a_base64(data[:whole] if rest else data, newline=False)
    if rest:
        yield b2a_base64(rest, newline=False)


def _base64_bytes(file: ImageFile) -> int:
    return 4 * ((file.size_bytes + 2) // 3)


class _LaterFile:
    """A file of a bucket that is opened when it is read first."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._body: StreamingBody | None = None

    def read(self, count: int) -> bytes:
        if self._body is None:
            _, self._body = self._bucket.open(self._key)
        return self._body.read(count)

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
