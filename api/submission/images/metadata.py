"""Image files without their metadata: what decides pixels is kept, and how the image is to be turned.

Metadata is what other programs wrote into the file: workflows of megabytes, EXIF with broken tags, colour
profiles that are none. None of it makes an image unusable, so it is removed before the file is decoded.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

Part = TypeVar("Part")

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
#: Chunks of a PNG that decide its pixels.
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
#: Segments of a JPEG that hold metadata, and those of them that decide its colours: JFIF and Adobe.
_APP = range(0xE0, 0xF0)
_COMMENT, _START_OF_SCAN, _END_OF_IMAGE = 0xFE, 0xDA, 0xD9
_COLOURS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
#: Chunks or segments of one file: encoders write some thousands into the largest. Each takes a microsecond.
MAX_PARTS = 100_000
#: Before a JPEG's marker there may be any number of these.
_FILL = re.compile(rb"\xff+")
#: Markers without a length.
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_ORIENTATION_TAG = 0x0112
#: TIFF's types BYTE, SHORT and LONG.
_INTEGERS = {1: "B", 3: "H", 4: "I"}
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


class Stripped(NamedTuple):
    """An image file without metadata; ``orientation`` is EXIF's, 1 to 8; ``frames`` more than 1: animated."""

    data: bytes
    orientation: int = 1
    frames: int = 1


def strip_metadata(data: bytes) -> Stripped:
    """The same image; files of other formats, and what is no image, come back as they are.

    Raises `ValueError` for a file of more than `MAX_PARTS` parts.
    """
    if data.startswith(PNG_START):
        return _strip_png(data)
    if data.startswith(JPEG_START):
        return _strip_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _strip_webp(data)
    return Stripped(data)


def _strip_png(data: bytes) -> Stripped:
    kept, exif, xmp, frames = [PNG_START], b"", b"", 1
    for kind, start, stop in _limited(_png_chunks(data)):
        body = data[start + 8 : stop - 4]
        if kind in _PNG_PIXELS:
            kept.append(data[start:stop])
        elif kind == b"eXIf":
            exif = body.removeprefix(_EXIF)
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
            xmp = body
        elif kind == b"acTL" and len(body) >= 4:
            frames = int.from_bytes(body[:4], "big")
    return Stripped(b"".join(kept), _orientation(exif, xmp), frames)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's kind, start and end, up to IEND; the last one may be cut off."""
    start = len(PNG_START)
    while start + 8 <= len(data):
        kind = data[start + 4 : start + 8]
        stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
        yield kind, start, min(stop, len(data))
        if kind == b"IEND":
            return
        start = stop


def _strip_jpeg(data: bytes) -> Stripped:
    kept, exif, xmp, at = [JPEG_START], b"", b"", 2
    for marker, start, stop in _limited(_jpeg_segments(data)):
        body = data[start + 4 : stop]
        if marker == 0xE1 and body.startswith(_EXIF):
            exif = exif or body.removeprefix(_EXIF)
        elif marker == 0xE1 and body.startswith(_XMP):
            xmp = xmp or body
        if _decides_pixels(marker, body):
            kept.append(data[start:stop])
        at = stop
    rest = data[at:]
    kept.append(rest[:1] + rest[1:].lstrip(b"\xff"))
    return Stripped(b"".join(kept), _orientation(exif, xmp))


def _decides_pixels(marker: int, body: bytes) -> bool:
    if marker in _COLOURS:
        return body.startswith(_COLOURS[marker])
    return marker not in _APP and marker != _COMMENT


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each segment's marker, start and end, up to the first scan, whose bytes are no segments."""
    start = len(JPEG_START)
    while start + 4 <= len(data) and data[start] == 0xFF:
        if fill := _FILL.match(data, start + 1):
            start = fill.end() - 1
            continue
        marker = data[start + 1]
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        length = 0 if marker in _ALONE else int.from_bytes(data[start + 2 : start + 4], "big")
        stop = min(start + 2 + length, len(data))
        yield marker, start, stop
        start = stop


def _strip_webp(data: bytes) -> Stripped:
    """libwebp reads pixels alone: only what follows the file's own end is cut off."""
    found = {b"EXIF": b"", b"XMP ": b""}
    for kind, start, stop in _limited(_webp_chunks(data)):
        if kind in found and not found[kind]:
            found[kind] = data[start + 8 : stop]
    size = 8 + int.from_bytes(data[4:8], "little")
    return Stripped(data[:size], _orientation(found[b"EXIF"].removeprefix(_EXIF), found[b"XMP "]))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    start = 12
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], start, start + 8 + size
        start += 8 + size + size % 2


def _limited(parts: Iterable[Part]) -> Iterator[Part]:
    for count, part in enumerate(parts):
        if count == MAX_PARTS:
            raise ValueError(f"it has more than {MAX_PARTS} parts")
        yield part


def _orientation(exif: bytes, xmp: bytes) -> int:
    """EXIF's orientation if it has one, else XMP's, else 1; what cannot be read has none."""
    try:
        value = _exif_orientation(exif)
    except (struct.error, IndexError):
        value = None
    if value is None:
        match = _XMP_ORIENTATION.search(xmp)
        value = int(match[1]) if match else None
    return value or 1


def _exif_orientation(exif: bytes) -> int | None:
    """The tag of the first directory (TIFF 6.0, section 2), whose other tags may be anything."""
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order = "<" if exif.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", exif, entry)
        if tag == _ORIENTATION_TAG and kind in _INTEGERS and number == 1:
            (value,) = struct.unpack_from(order + _INTEGERS[kind], exif, entry + 8)
            return value if 1 <= value <= 8 else None
    return None
