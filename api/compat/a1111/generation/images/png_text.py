"""Text chunks of PNG files (https://www.w3.org/TR/png-3/#11textinfo), without decoding any pixel."""

import struct
import zlib
from collections.abc import Iterable, Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Length of the signature, and of the header's chunk, which is always the first.
_HEADER_END = len(_SIGNATURE) + 8 + 13 + 4


def with_chunk(pieces: Iterable[bytes], chunk: bytes) -> Iterator[bytes]:
    """The same image with one more chunk; the first piece must be longer than the header."""
    pieces = iter(pieces)
    first = next(pieces)
    assert first.startswith(_SIGNATURE)
    assert len(first) >= _HEADER_END
    yield first[:_HEADER_END] + chunk + first[_HEADER_END:]
    yield from pieces


def text_chunk(keyword: str, text: str) -> bytes:
    """A chunk of the older kind, which every program reads, wherever its encoding has all of the text."""
    text = text.replace("\0", "")  # ends a field
    try:
        kind, data = b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        # no compression, no language, no translated keyword
        kind, data = b"iTXt", keyword.encode("latin-1") + bytes(5) + text.encode("utf-8", "replace")
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
