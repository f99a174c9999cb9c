"""Decodes an image of a request: base64 of a PNG, JPEG or WebP in, the PNG of its RGB pixels out."""

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple
from urllib.parse import unquote

from PIL import Image, ImageMath, UnidentifiedImageError

from api.submission.images.metadata import strip_metadata
from shared.errors import InvalidImage

FORMATS = ["PNG", "JPEG", "WEBP"]
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE_NAME = re.compile(r"[^\n]{1,1000}\.(png|jpe?g|webp|gif|bmp|tiff?|avif|heic)", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")
#: Undoes EXIF's orientations; 1 is upright.
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: What Pillow raises on bytes that are no (whole) image.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    AttributeError,
)


class DecodedImage(NamedTuple):
    """An image as PNG: upright, RGB, without metadata."""

    png: bytes
    is_transparent: bool  # in the file that was sent; the PNG has the colours under its transparency


def decode_image(text: str, *, max_px: int, field: str) -> DecodedImage:
    """The image in ``text``, base64 or a data: URL of it; raises `InvalidImage` for ``field``.

    Upright and in RGB as diffusers' ``load_image`` makes it, apart from greys of 16 bit, which are scaled to
    8 and not cut off.
    """
    with _opened(text, max_px=max_px, field=field) as (image, orientation):
        is_transparent = _is_transparent(image)
        return DecodedImage(encode_png(_upright_rgb(image, orientation)), is_transparent)


def decode_rgba(text: str, *, max_px: int, field: str) -> Image.Image:
    """The same image in RGBA; raises `InvalidImage` for ``field``."""
    with _opened(text, max_px=max_px, field=field) as (image, orientation):
        has_alpha = image.has_transparency_data and not _is_16_bit(image)
        rgba = image.convert("RGBA") if has_alpha else _upright_rgb(image, 1).convert("RGBA")
        return rgba.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else rgba


@contextmanager
def _opened(text: str, *, max_px: int, field: str) -> Iterator[tuple[Image.Image, int]]:
    """The image as it was sent, loaded, and its orientation; errors of the block are the image's."""
    data = decode_base64(text, field)
    with image_errors(field, max_px):
        stripped = strip_metadata(data)
        if stripped.frames > 1:
            raise _animated(field)
        with Image.open(BytesIO(stripped.data), formats=FORMATS) as image:
            check_header(image, max_px, field)
            image.load()
            yield image, stripped.orientation


@contextmanager
def image_errors(field: str, max_px: int) -> Iterator[None]:
    """Let what Pillow raises in the block be an `InvalidImage` for ``field``."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidImage(f"the image has more than {max_px} pixels", field=field) from None
    except UnidentifiedImageError:
        raise InvalidImage("the image is no PNG, JPEG or WebP", field=field) from None
    except InvalidImage:
        raise
    except BROKEN as error:
        raise InvalidImage(f"the image is broken or truncated: {error}", field=field) from None


def decode_base64(text: str, field: str) -> bytes:
    """The bytes of an image; also url-safe, without padding and in lines, as other programs write it."""
    text = text.strip()
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or head.rpartition(";")[2].strip().lower() != "base64":
            raise InvalidImage("a data: URL must be base64: 'data:image/png;base64,...'", field=field)
        text = unquote(text)
    if _URL.match(text):
        raise InvalidImage("URLs are not fetched: send the image itself, in base64", field=field)
    plain = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        if _FILE_NAME.fullmatch(text):
            detail = "files are not read from a path: send the image itself, in base64"
            raise InvalidImage(detail, field=field) from None
        raise InvalidImage("the image is no base64", field=field) from None
    if not data:
        raise InvalidImage("the image is empty", field=field)
    return data


def check_header(image: Image.Image, max_px: int, field: str) -> None:
    """Check the size in an image's header, before anything large is decoded."""
    width, height = image.size
    if width * height > max_px:
        raise InvalidImage(f"the image has {width} x {height} pixels, more than {max_px}", field=field)
    if getattr(image, "is_animated", False):
        raise _animated(field)


def _animated(field: str) -> InvalidImage:
    return InvalidImage("the image is animated: only still images are accepted", field=field)


def _is_transparent(image: Image.Image) -> bool:
    """Whether a pixel is not fully opaque."""
    if not image.has_transparency_data:
        return False
    if _is_16_bit(image):  # one grey is transparent
        grey = image.info["transparency"]
        equal = ImageMath.lambda_eval(lambda args: args["image"] == grey, image=image.convert("I"))
        return bool(equal.getextrema() != (0, 0))
    alpha = image.convert("RGBA").getchannel("A")
    return bool(alpha.getextrema() != (255, 255))


def _upright_rgb(image: Image.Image, orientation: int) -> Image.Image:
    if _is_16_bit(image):
        image = image.point(lambda grey: grey * (1 / 257) + 0.5).convert("L")
    image.info.pop("transparency", None)  # Pillow would complain of a palette's, which is ignored here
    rgb = image.convert("RGB")
    return rgb.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else rgb


def _is_16_bit(image: Image.Image) -> bool:
    """Of greys alone: Pillow reads colours of 16 bit as 8 bit."""
    return image.mode.startswith("I")


def encode_png(image: Image.Image) -> bytes:
    """Pixels alone: equal ones are the same file."""
    image.info.clear()
    png = BytesIO()
    image.save(png, "PNG", compress_level=1)
    return png.getvalue()
