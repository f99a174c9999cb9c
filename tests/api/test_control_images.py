import base64
import struct
import zlib
from io import BytesIO

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.control_images import read_control_image, store_control_image
from api.services import Services
from shared.errors import InvalidImage
from shared.keys import control_key
from tests.api.material import base64_of, edge, picture

# Pillow warns of odd palettes and of EXIF it cannot read; neither makes a picture unusable.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")


def read(data: bytes | str, max_px: int = 1 << 20) -> bytes:
    text = data if isinstance(data, str) else base64_of(data)
    return read_control_image(text, max_px=max_px, field="controlnets.0.image")


def pixels(png: bytes) -> Image.Image:
    return Image.open(BytesIO(png))


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def animation(format: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    return saved(frames[0], format, save_all=True, append_images=frames[1:], duration=100)


def huge_png(side: int) -> bytes:
    """A few hundred bytes that announce ``side`` squared pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_png_keeps_its_pixels() -> None:
    data = picture((40, 24))
    assert pixels(read(data)).tobytes() == pixels(data).tobytes()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_each_accepted_format_becomes_an_rgb_png(format: str) -> None:
    image = pixels(read(picture((40, 24), format)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (40, 24))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_becomes_rgb_as_pillow_converts_it(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 128)).convert("L" if mode == "I;16" else mode)
    data = saved(image.convert("I;16") if mode == "I;16" else image)
    assert pixels(read(data)).tobytes() == pixels(data).convert("RGB").tobytes()


def test_a_photograph_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    assert pixels(read(picture((40, 24), "JPEG", exif=exif))).size == (24, 40)


def test_the_further_renditions_of_a_photograph_are_no_animation() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert pixels(read(data)).size == (8, 8)


def test_a_data_url_is_accepted() -> None:
    assert read("data:image/png;base64," + base64_of(picture())) == read(picture())


def test_wrapped_base64_is_accepted() -> None:
    assert read(base64.encodebytes(picture()).decode()) == read(picture())


def test_equal_pictures_are_stored_once(services: Services) -> None:
    first = store_control_image(services.images, read(picture()))
    again = store_control_image(services.images, read(picture()))
    assert first == again
    assert [blob.key for blob in services.images.list()] == [control_key(first)]


@pytest.mark.parametrize("text", ["%%%", "aGVsbG8", "data:image/png,abc", "data:;base64", "", "höhe"])
def test_base64_rubbish_is_refused(text: str) -> None:
    with pytest.raises(InvalidImage):
        read(text)


@pytest.mark.parametrize("data", [b"hello, world", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(100)])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        read(data)


def test_a_picture_of_another_format_is_refused() -> None:
    with pytest.raises(InvalidImage, match="no PNG, JPEG or WebP"):
        read(picture(format="BMP"))


def test_the_limit_of_pixels_holds_to_the_pixel() -> None:
    assert read(picture((10, 10)), max_px=100)
    with pytest.raises(InvalidImage, match="10 x 10 pixels, more than 99"):
        read(picture((10, 10)), max_px=99)


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
    data = picture((256, 256), format)
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
    data = bytearray(picture((32, 32), format))
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
