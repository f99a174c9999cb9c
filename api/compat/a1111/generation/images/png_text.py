"""Text chunks of PNG files (https://www.w3.org/TR/png-3/#11textinfo), without decoding any pixel."""

import struct
import zlib
from collections.abc import Callable

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Length of the signature, and of the header's chunk, which is always the first.
_HEADER_END = len(_SIGNATURE) + 8 + 13 + 4


def with_chunk(read: Callable[[int], bytes], chunk: bytes) -> Callable[[int], bytes]:
    """Reads the same image with one more chunk, in pieces of the lengths that are asked for.

    What comes out of step with them would have to be copied once more, to be encoded in base64.
    """
    rest = b""
    is_begun = False

    def read_with_chunk(count: int) -> bytes:
        nonlocal rest, is_begun
        if not is_begun:
            is_begun = True
            header = read(_HEADER_END)
            assert header.startswith(_SIGNATURE)
            rest = header + chunk
        piece, rest = rest[:count], rest[count:]
        return piece + read(count - len(piece)) if len(piece) < count else piece

    return read_with_chunk


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
