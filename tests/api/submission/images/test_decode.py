import base64
import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from api.services import Services
from api.submission.images.decode import decode_image
from api.submission.images.metadata import MAX_PARTS
from shared.errors import InvalidImage
from tests.api.services import announce_workers, base64_of, edge, image_file


def read(data: bytes | str, max_px: int = 1 << 20) -> bytes:
    text = data if isinstance(data, str) else base64_of(data)
    return decode_image(text, max_px=max_px, field="controlnets.0.image").png


def pixels(png: bytes) -> Image.Image:
    return Image.open(BytesIO(png))


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def animation(format: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    return saved(frames[0], format, save_all=True, append_images=frames[1:], duration=100)


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """A chunk of a PNG."""
    crc = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def with_chunk(data: bytes, *parts: bytes, checksum: int | None = None) -> bytes:
    """A PNG with further chunks, kind and data each, behind its first."""
    more = b"".join(chunk(kind, body, checksum) for kind, body in zip(parts[::2], parts[1::2], strict=True))
    return data[:33] + more + data[33:]


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def png(*, size: tuple[int, int], depth: int, colour: int, rows: list[bytes]) -> bytes:
    """A PNG of what Pillow does not write."""
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def huge_png(side: int) -> bytes:
    """A few hundred bytes that announce ``side`` squared pixels."""
    return png(size=(side, side), depth=8, colour=2, rows=[bytes(10_000)])


def is_transparent(data: bytes) -> bool:
    return decode_image(base64_of(data), max_px=1 << 20, field="image").is_transparent


def test_a_png_keeps_its_pixels() -> None:
    data = image_file((40, 24))
    assert pixels(read(data)).tobytes() == pixels(data).tobytes()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_each_accepted_format_becomes_an_rgb_png(format: str) -> None:
    image = pixels(read(image_file((40, 24), format)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (40, 24))


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")  # of the test itself
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_becomes_rgb_as_pillow_converts_it(mode: str) -> None:
    data = saved(Image.new("RGBA", (8, 8), (200, 100, 50, 128)).convert(mode))
    assert pixels(read(data)).tobytes() == pixels(data).convert("RGB").tobytes()


@pytest.mark.parametrize("grey", [0, 128, 129, 256, 257, 32768, 65279, 65534, 65535])
def test_greys_of_16_bit_are_scaled_to_8(grey: int) -> None:
    image = pixels(read(saved(Image.new("I;16", (2, 2), grey))))
    assert image.getpixel((1, 1)) == (round(grey / 257),) * 3


def test_colours_of_16_bit_keep_their_upper_byte() -> None:
    colours = struct.pack(">3H", 65535, 32768, 255)
    image = pixels(read(png(size=(1, 1), depth=16, colour=2, rows=[colours])))
    assert image.getpixel((0, 0)) == (255, 128, 0)


@pytest.mark.parametrize(("depth", "colour"), [(16, 4), (16, 6)])
def test_colours_of_16_bit_with_alpha_are_read(depth: int, colour: int) -> None:
    channels = {4: 2, 6: 4}[colour]
    row = struct.pack(f">{channels}H", *[65535] * channels)
    assert (
        pixels(read(png(size=(1, 1), depth=depth, colour=colour, rows=[row]))).getpixel((0, 0)) == (255,) * 3
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_greys_of_few_bits_reach_from_black_to_white(depth: int) -> None:
    for byte, grey in ((0xFF, 255), (0, 0)):
        data = png(size=(1, 1), depth=depth, colour=0, rows=[bytes([byte])])
        assert pixels(read(data)).getpixel((0, 0)) == (grey,) * 3


def test_a_jpeg_of_four_inks_is_the_colour_it_looks_like() -> None:
    inks = Image.new(
        "CMYK", (8, 8), (0, 255, 255, 0)
    )  # no cyan: red; Pillow writes it inverted, as Adobe does
    red, green, blue = pixels(read(saved(inks, "JPEG", quality=95))).getpixel((4, 4))
    assert red > 240
    assert green < 15
    assert blue < 15


@cache
def metadata() -> dict[str, bytes]:
    """Images that a part of their metadata makes unusual, and no pixel."""
    plain, photograph = image_file((40, 24)), image_file((40, 24), "JPEG")
    date = struct.pack("<2sHIHHHIfI", b"II", 42, 8, 1, 0x0132, 11, 1, 1.0, 0)  # DateTime as a FLOAT
    text = b"workflow\0" + b"{}" * (1 << 20)
    return {
        "a broken date": photograph[:2] + segment(0xE1, b"Exif\0\0" + date) + photograph[2:],
        "no EXIF in eXIf": with_chunk(plain, b"eXIf", b"rubbish"),
        "an endless directory in eXIf": with_chunk(plain, b"eXIf", b"II*\0\x08\0\0\0\xff\xff"),
        "a workflow of two megabytes": with_chunk(plain, b"tEXt", text),
        "a hundred texts": with_chunk(plain, *[b"tEXt", b"a\0" + b"x" * 100_000] * 100),
        "a compressed bomb of text": with_chunk(plain, b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24))),
        "international text that is none": with_chunk(plain, b"iTXt", b"\xff" * 100),
        "a profile that is none": with_chunk(plain, b"iCCP", b"ICC\0\0rubbish"),
        "a profile that is a bomb": with_chunk(plain, b"iCCP", b"ICC\0\0" + zlib.compress(bytes(1 << 24))),
        "a profile that is none in a JPEG": photograph[:2]
        + segment(0xE2, b"ICC_PROFILE\0\x05\x01rubbish")
        + photograph[2:],
        "segments that are none": photograph[:2]
        + segment(0xE1, b"Exif\0")
        + segment(0xED, b"Photoshop 3.0\0rubbish")
        + segment(0xE2, b"MPF\0rubbish")
        + photograph[2:],
        "a wrong checksum of a text": with_chunk(plain, b"tEXt", b"a\0b", checksum=1),
        "a short text chunk": with_chunk(plain, b"gAMA", b""),
        "sizes that are none": with_chunk(plain, b"pHYs", b"\xff"),
        "bytes behind the end": plain + bytes(1000),
        "bytes behind the end of a JPEG": photograph + bytes(1000),
        "bytes behind the end of a WebP": image_file((40, 24), "WEBP", lossless=True) + bytes(1001),
    }


@pytest.mark.parametrize("name", metadata())
def test_metadata_makes_no_image_unusable(name: str) -> None:
    data = metadata()[name]
    format = {b"\x89": "PNG", b"\xff": "JPEG", b"R": "WEBP"}[data[:1]]
    plain = image_file((40, 24), format, **({"lossless": True} if format == "WEBP" else {}))
    assert read(data) == read(plain)


EXIF = {
    order: struct.pack(
        f"{order}2sHIHHHIIHHIfI", letters, 42, 8, 2, 0x0112, 3, 1, value, 0x0132, 11, 1, 1.0, 0
    )
    for order, letters, value in (("<", b"II", 6), (">", b"MM", 6 << 16))
}


@pytest.mark.parametrize("order", EXIF)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_turned_though_other_tags_are_broken(format: str, order: str) -> None:
    plain = image_file((40, 24), format)
    data = {
        "PNG": lambda: with_chunk(plain, b"eXIf", EXIF[order]),
        "JPEG": lambda: plain[:2] + segment(0xE1, b"Exif\0\0" + EXIF[order]) + plain[2:],
        "WEBP": lambda: image_file((40, 24), "WEBP", exif=b"Exif\0\0" + EXIF[order]),
    }[format]()
    assert pixels(read(data)).size == (24, 40)
    assert pixels(read(data)).tobytes() == pixels(read(plain)).transpose(Image.Transpose.ROTATE_270).tobytes()


@pytest.mark.parametrize("value", range(1, 9))
def test_each_orientation_is_undone_as_pillow_does(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    data = image_file((40, 24), "JPEG", exif=exif)
    assert pixels(read(data)).tobytes() == ImageOps.exif_transpose(pixels(data)).convert("RGB").tobytes()


def test_the_orientation_of_xmp_counts_where_exif_has_none() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation="6"/>'
    plain = image_file((40, 24), "JPEG")
    assert pixels(read(plain[:2] + segment(0xE1, xmp) + plain[2:])).size == (24, 40)


@pytest.mark.parametrize(
    "data",
    [
        with_chunk(image_file(), *[b"tEXt", b""] * MAX_PARTS),
        image_file(format="JPEG")[:2] + segment(0xFE, b"") * (MAX_PARTS + 1),
        b"RIFF\xff\xff\xff\0WEBP" + b"ABCD\0\0\0\0" * (MAX_PARTS + 1),
    ],
    ids=["PNG", "JPEG", "WEBP"],
)
def test_a_file_of_parts_without_end_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage, match=f"more than {MAX_PARTS} parts"):
        read(data)


def test_any_number_of_fill_bytes_may_stand_before_a_marker() -> None:
    plain = image_file(format="JPEG")
    fill = b"\xff" * MAX_PARTS
    scan = plain.index(b"\xff\xda")
    assert read(plain[:2] + fill + plain[2:scan] + fill + plain[scan:]) == read(plain)


def test_a_profile_is_not_kept() -> None:
    data = image_file((8, 8), icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert read(data) == read(image_file((8, 8)))


def test_an_animated_png_of_one_frame_is_a_still_image() -> None:
    data = with_chunk(image_file(), b"acTL", struct.pack(">II", 1, 0))
    assert read(data) == read(image_file())


def clear(mode: str, *, whole: bool) -> Image.Image:
    """An image with a pixel that is not opaque, unless it is ``whole``."""
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 255))
    if not whole:
        image.putpixel((3, 3), (200, 100, 50, 254))
    return image.convert(mode)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_ignored_with_a_warning(mode: str, whole: bool) -> None:
    assert is_transparent(saved(clear(mode, whole=whole))) is not whole


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "I;16"])
@pytest.mark.parametrize("there", [True, False])
def test_a_transparent_colour_is_warned_of_where_a_pixel_has_it(mode: str, there: bool) -> None:
    image = Image.new(mode, (8, 8), (1, 2, 3) if mode == "RGB" else 1)
    if mode == "P":
        image.putpalette([10, 20, 30, 40, 50, 60])
    colour: Any = {"RGB": (1, 2, 3) if there else (4, 5, 6)}.get(mode, 1 if there else 0)
    data = saved(image, transparency=colour)
    assert "transparency" in pixels(data).info
    assert is_transparent(data) == there
    assert "transparency" not in pixels(read(data)).info


def test_a_palette_with_degrees_of_transparency_is_read_like_one_without() -> None:
    image = Image.linear_gradient("L").convert("P")
    data = saved(image, transparency=bytes(range(256)))
    assert is_transparent(data)
    assert read(data) == read(saved(image))


def test_warnings_of_images_are_in_the_response_and_in_the_job(
    client: FlaskClient, services: Services
) -> None:
    announce_workers(services)
    image = base64_of(saved(clear("RGBA", whole=False).resize((64, 64))))
    request = {"prompt": "a cat", "image": image, "mask_image": image, "controlnets": [edge(image), edge()]}
    headers = {"Idempotency-Key": "order 7"}
    answer = client.post("/v1/jobs", json=request, headers=headers)
    assert answer.status_code == 202, answer.json
    warnings = answer.json["warnings"]
    assert [one.partition(":")[0] for one in warnings] == ["image", "mask_image", "controlnets.0.image"]
    assert all("transparency is ignored" in warning for warning in warnings)
    assert client.get(f"/v1/jobs/{answer.json['id']}").json["warnings"] == warnings
    assert client.post("/v1/jobs", json=request, headers=headers).json == answer.json


def test_a_photograph_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    assert pixels(read(image_file((40, 24), "JPEG", exif=exif))).size == (24, 40)


def test_the_further_renditions_of_a_photograph_are_no_animation() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert pixels(read(data)).size == (8, 8)


def test_a_data_url_is_accepted() -> None:
    assert read("data:image/png;base64," + base64_of(image_file())) == read(image_file())


def test_wrapped_base64_is_accepted() -> None:
    assert read(base64.encodebytes(image_file()).decode()) == read(image_file())


@pytest.mark.parametrize(
    "write",
    [
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text.rstrip("="),
        lambda text: text.rstrip("=").replace("+", "-").replace("/", "_"),
        lambda text: "\r\n\t ".join(text),
        lambda text: f"\n{text}\n",
        lambda text: f"data:image/png;base64,{text}",
        lambda text: f"data:image/png;charset=utf-8;name=a.png;base64,{text}",
        lambda text: f"DATA:image/PNG;BASE64,{text}",
        lambda text: f"data:;base64, {text}",
        lambda text: "data:image/png;base64," + quote(text),
        lambda text: "data:image/png;base64," + text.rstrip("=").replace("+", "-").replace("/", "_"),
    ],
)
def test_base64_is_read_as_other_programs_write_it(write: Callable[[str], str]) -> None:
    for size in ((8, 8), (9, 8), (10, 8)):  # one of each padding
        assert read(write(base64_of(image_file(size)))) == read(image_file(size))


@pytest.mark.parametrize("text", ["%%%", "aGVsbG8", "data:image/png,abc", "data:;base64", "", "höhe"])
def test_base64_rubbish_is_refused(text: str) -> None:
    with pytest.raises(InvalidImage):
        read(text)


@pytest.mark.parametrize("data", [b"hello, world", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(100)])
def test_what_is_not_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        read(data)


def test_an_image_of_another_format_is_refused() -> None:
    with pytest.raises(InvalidImage, match="no PNG, JPEG or WebP"):
        read(image_file(format="BMP"))


def test_the_limit_of_pixels_holds_to_the_pixel() -> None:
    assert read(image_file((10, 10)), max_px=100)
    with pytest.raises(InvalidImage, match="10 x 10 pixels, more than 99"):
        read(image_file((10, 10)), max_px=99)


@pytest.mark.parametrize("side", [4_000, 10_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(InvalidImage, match="pixels"):
        read(huge_png(side), max_px=1 << 20)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_is_refused(format: str) -> None:
    with pytest.raises(InvalidImage, match="animated"):
        read(animation(format))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(format: str, share: float) -> None:
    data = image_file((256, 256), format)
    with pytest.raises(InvalidImage):
        read(data[: int(len(data) * share)])


@settings(max_examples=150, deadline=None)
@given(
    format=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    damage=st.lists(
        st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
    ),
)
def test_damaged_files_are_read_or_refused_and_nothing_else(
    format: str, damage: list[tuple[int, bytes]]
) -> None:
    data = bytearray(image_file((32, 32), format))
    for place, rubbish in damage:
        start = place % len(data)
        data[start : start + len(rubbish)] = rubbish
    try:
        png = read(bytes(data))
    except InvalidImage:
        return
    assert pixels(png).format == "PNG"


def test_a_bad_control_image_is_a_problem_that_names_its_field(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "controlnets": [edge("%%%")]})
    assert answer.status_code == 422
    assert answer.json["code"] == "invalid_image"
    assert answer.json["field"] == "controlnets.0.image"


def test_nothing_is_stored_when_a_later_image_is_bad(client: FlaskClient, services: Services) -> None:
    request = {"prompt": "a cat", "controlnets": [edge(), edge("%%%")]}
    assert client.post("/v1/jobs", json=request).status_code == 422
    assert list(services.images.list()) == []
