"""Image files whose metadata or pixels are damaged: metadata refuses no image, and nothing else fails."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.submission.images.decode import decode_image
from api.submission.images.metadata import strip_metadata
from shared.errors import InvalidImage
from tests.api.services import base64_of, image_file
from tests.api.submission.images.test_decode import segment, with_chunk

# Pillow warns of odd palettes; they make no image unusable.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")

PLAIN = {
    "PNG": image_file((16, 16)),
    "JPEG": image_file((16, 16), "JPEG"),
    "WEBP": image_file((16, 16), "WEBP", lossless=True),
}
PROGRESSIVE = image_file((16, 16), "JPEG", progressive=True, quality=50)
#: Of a directory's entries: tag, type, count, value.
ENTRY = st.tuples(
    st.sampled_from([0x0112, 0x0132, 0x8769, 0x8825]) | st.integers(0, 65535),
    st.integers(0, 14),
    st.sampled_from([0, 1, 2, 0xFFFFFFFF]) | st.integers(0, 1000),
    st.integers(0, 0xFFFFFFFF),
)


@st.composite
def exif(draw: st.DrawFn) -> bytes:
    """EXIF as broken programs write it: a right header, entries that are anything, cut off anywhere."""
    order, letters = draw(st.sampled_from([("<", b"II"), (">", b"MM")]))
    entries = draw(st.lists(ENTRY, max_size=4))
    count = draw(st.sampled_from([len(entries), 0, 0xFFFF]))
    start = draw(st.sampled_from([8, 8, 8, 0, 0xFFFFFFFF]))
    data = struct.pack(f"{order}2sHIH", letters, 42, start, count)
    data += b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


PNG_METADATA = [b"eXIf", b"iCCP", b"tEXt", b"iTXt", b"zTXt", b"gAMA", b"pHYs"]
METADATA = exif() | st.binary(max_size=60)


def with_metadata(format: str, kind: int, body: bytes) -> bytes:
    plain = PLAIN[format]
    if format == "PNG":
        return with_chunk(
            plain, [b"eXIf", b"iCCP", b"tEXt", b"iTXt", b"zTXt", b"gAMA", b"acTx"][kind % 7], body
        )
    if format == "JPEG":
        start = [b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b""][kind % 4]
        return plain[:2] + segment([0xE1, 0xE1, 0xE2, 0xFE][kind % 4], start + body) + plain[2:]
    name = [b"EXIF", b"XMP ", b"ABCD"][kind % 3]
    data = plain + name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def read(data: bytes) -> bytes:
    return decode_image(base64_of(data), max_px=1 << 20, field="image").png


@given(format=st.sampled_from(list(PLAIN)), kind=st.integers(0, 6), body=METADATA)
def test_metadata_never_refuses_an_image(format: str, kind: int, body: bytes) -> None:
    data = with_metadata(format, kind, body)
    turned = strip_metadata(data).orientation
    assert 1 <= turned <= 8
    png = read(data)
    if turned == 1:
        assert png == read(PLAIN[format])


@given(
    data=st.sampled_from([*PLAIN.values(), PROGRESSIVE, image_file((16, 16), "PNG", optimize=True)]),
    damage=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8), st.integers(0, 8)), max_size=6),
)
def test_a_damaged_file_is_read_or_refused(data: bytes, damage: list[tuple[int, bytes, int]]) -> None:
    for place, rubbish, taken in damage:
        at = place % (len(data) + 1)
        data = data[:at] + rubbish + data[at + taken :]
    with contextlib.suppress(InvalidImage):
        assert read(data).startswith(b"\x89PNG")


@given(data=st.binary(max_size=200), start=st.sampled_from([b"", *(data[:8] for data in PLAIN.values())]))
def test_what_is_no_image_is_stripped_of_nothing_that_fails(start: bytes, data: bytes) -> None:
    assert strip_metadata(start + data).frames >= 0
