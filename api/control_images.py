"""Control images: base64 of a PNG, JPEG or WebP in, a content-addressed RGB PNG in the image bucket out.

An image that is in the bucket already may be named instead, as ``sha256:`` and the hash of its PNG.
"""

import base64
import binascii
import hashlib
import re
import struct
import threading
import zlib
from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError

from shared.blobs import Bucket
from shared.errors import InvalidImage, NotFound
from shared.keys import control_key

FORMATS = ["PNG", "JPEG", "WEBP"]
#: How a stored image is named; no base64 has a colon.
STORED = "sha256:"
#: A large picture takes hundreds of megabytes while it is decoded: few at a time.
_DECODERS = threading.BoundedSemaphore(2)
#: What Pillow raises on bytes that are no (whole) picture.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    KeyError,
    IndexError,
    TypeError,
)


def take_control_image(images: Bucket, text: str, *, max_px: int, field: str) -> bytes:
    """The picture that ``text`` holds, or that it names in the bucket, as PNG; see `read_control_image`."""
    if text.startswith(STORED):
        return read_stored_image(images, text.removeprefix(STORED), field=field)
    return read_control_image(text, max_px=max_px, field=field)


def read_control_image(text: str, *, max_px: int, field: str) -> bytes:
    """The picture in ``text`` (base64, or a data: URL of it) as PNG; raises `InvalidImage` for ``field``.

    Oriented and converted to RGB as diffusers' ``load_image`` does.
    """
    source = BytesIO(_decode_base64(text, field))
    try:
        with _DECODERS, Image.open(source, formats=FORMATS) as picture:
            _check(picture, max_px, field)
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            png = BytesIO()
            upright.save(png, "PNG", compress_level=1)
            return png.getvalue()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidImage(f"the image has more than {max_px} pixels", field=field) from None
    except UnidentifiedImageError:
        raise InvalidImage("the image is no PNG, JPEG or WebP", field=field) from None
    except InvalidImage:
        raise
    except _BROKEN as error:
        raise InvalidImage(f"the image is broken or truncated: {error}", field=field) from None


def read_stored_image(images: Bucket, sha256: str, *, field: str) -> bytes:
    """A picture of the bucket as PNG; raises `InvalidImage` for ``field`` if it is not what it was."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InvalidImage(f"{sha256!r} is no sha256: 64 hexadecimal digits", field=field)
    try:
        png = images.get(control_key(sha256))
    except NotFound:
        raise InvalidImage(f"no image {STORED}{sha256} is stored (any more)", field=field) from None
    if hashlib.sha256(png).hexdigest() != sha256:
        raise InvalidImage(f"the stored image {STORED}{sha256} is damaged", field=field)
    return png


def store_control_image(images: Bucket, png: bytes) -> str:
    """Put a control image into the bucket unless it is there; returns its sha256."""
    sha256 = hashlib.sha256(png).hexdigest()
    key = control_key(sha256)
    if not images.exists(key):
        images.put(key, png, content_type="image/png")
    return sha256


def _decode_base64(text: str, field: str) -> bytes:
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidImage("a data: URL must be base64: 'data:image/png;base64,...'", field=field)
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidImage("the image is no base64", field=field) from None
    if not data:
        raise InvalidImage("the image is empty", field=field)
    return data


def _check(picture: Image.Image, max_px: int, field: str) -> None:
    """Only the header has been read so far: nothing large is decoded before this."""
    width, height = picture.size
    if width * height > max_px:
        raise InvalidImage(f"the image has {width} x {height} pixels, more than {max_px}", field=field)
    # An MPO is a photograph with further renditions of itself, as cameras write them: no animation.
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise InvalidImage("the image is animated: only still pictures are taken", field=field)
