"""Images of requests: base64 of a PNG, JPEG or WebP in, a content-addressed RGB PNG in the image bucket out.

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
from urllib.parse import unquote

from PIL import Image, ImageMath, UnidentifiedImageError

from api.server.threads import Offload, directly
from api.submission.images.metadata import strip_metadata
from api.submission.warn import Warn, ignore
from shared.errors import InvalidImage, NotFound, StoredImageMissing
from shared.keys import control_key
from shared.storage.object_store import Bucket

FORMATS = ["PNG", "JPEG", "WEBP"]
#: How a stored image is named; no base64 has a colon.
STORED = "sha256:"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE_NAME = re.compile(r"[^\n]{1,1000}\.(png|jpe?g|webp|gif|bmp|tiff?|avif|heic)", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")
#: How EXIF's orientations are undone; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
    OverflowError,
    AttributeError,
)


def take_control_image(
    images: Bucket, text: str, *, max_px: int, field: str, warn: Warn = ignore, offload: Offload = directly
) -> bytes:
    """The picture that ``text`` holds, or that it names in the bucket, as PNG; see `read_control_image`."""
    name = text[: len(STORED) + 80].strip().lower()
    if name.startswith(STORED):
        return read_stored_image(images, name.removeprefix(STORED), max_px=max_px, field=field)
    with _DECODERS:
        return offload(lambda: read_control_image(text, max_px=max_px, field=field, warn=warn))


def read_control_image(text: str, *, max_px: int, field: str, warn: Warn = ignore) -> bytes:
    """The picture in ``text`` (base64, or a data: URL of it) as PNG; raises `InvalidImage` for ``field``.

    Upright and in RGB as diffusers' ``load_image`` makes it, apart from greys of 16 bit, which are scaled to
    8 and not cut off. Metadata is ignored; ``warn`` is called when transparency is.
    """
    data = _decode_base64(text, field)
    try:
        stripped = strip_metadata(data)
        if stripped.frames > 1:
            raise _animated(field)
        with Image.open(BytesIO(stripped.data), formats=FORMATS) as picture:
            _check(picture, max_px, field)
            picture.load()
            if _is_transparent(picture):
                warn(
                    f"{field}: the image is partly transparent: its transparency is ignored, and the colours"
                    " under it are used"
                )
            return _encode_png(_upright_rgb(picture, stripped.orientation))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidImage(f"the image has more than {max_px} pixels", field=field) from None
    except UnidentifiedImageError:
        raise InvalidImage("the image is no PNG, JPEG or WebP", field=field) from None
    except InvalidImage:
        raise
    except _BROKEN as error:
        raise InvalidImage(f"the image is broken or truncated: {error}", field=field) from None


def read_stored_image(images: Bucket, sha256: str, *, max_px: int, field: str) -> bytes:
    """A picture of the bucket as PNG; raises `InvalidImage` for ``field`` if it is not what it was."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InvalidImage(f"{sha256!r} is no sha256: 64 hexadecimal digits", field=field)
    try:
        png = images.get(control_key(sha256))
    except NotFound:
        raise StoredImageMissing(f"no image {STORED}{sha256} is stored (any more)", field=field) from None
    if hashlib.sha256(png).hexdigest() != sha256:
        raise InvalidImage(f"the stored image {STORED}{sha256} is damaged", field=field)
    try:
        with Image.open(BytesIO(png), formats=["PNG"]) as picture:
            _check(picture, max_px, field)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, *_BROKEN):
        raise InvalidImage(f"the stored image {STORED}{sha256} is no image of a job", field=field) from None
    return png


def store_control_image(images: Bucket, png: bytes) -> str:
    """Put a control image into the bucket unless it is there; returns its sha256."""
    sha256 = hashlib.sha256(png).hexdigest()
    key = control_key(sha256)
    if not images.exists(key):
        images.put(key, png, content_type="image/png")
    return sha256


def _decode_base64(text: str, field: str) -> bytes:
    """Also url-safe, without padding and in lines, as other programs write it."""
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


def _check(picture: Image.Image, max_px: int, field: str) -> None:
    """Only the header has been read so far: nothing large is decoded before this."""
    width, height = picture.size
    if width * height > max_px:
        raise InvalidImage(f"the image has {width} x {height} pixels, more than {max_px}", field=field)
    if getattr(picture, "is_animated", False):
        raise _animated(field)


def _animated(field: str) -> InvalidImage:
    return InvalidImage("the image is animated: only still pictures are taken", field=field)


def _is_transparent(picture: Image.Image) -> bool:
    """Whether a pixel is not fully opaque."""
    if not picture.has_transparency_data:
        return False
    if _is_16_bit(picture):  # one grey is transparent
        grey = picture.info["transparency"]
        equal = ImageMath.lambda_eval(lambda args: args["image"] == grey, image=picture.convert("I"))
        return bool(equal.getextrema() != (0, 0))
    alpha = picture.convert("RGBA").getchannel("A")
    return bool(alpha.getextrema() != (255, 255))


def _upright_rgb(picture: Image.Image, orientation: int) -> Image.Image:
    if _is_16_bit(picture):
        picture = picture.point(lambda grey: grey * (1 / 257) + 0.5).convert("L")
    picture.info.pop("transparency", None)  # Pillow would complain of a palette's, which is ignored here
    rgb = picture.convert("RGB")
    return rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb


def _is_16_bit(picture: Image.Image) -> bool:
    """Of greys alone: Pillow reads colours of 16 bit as 8 bit."""
    return picture.mode.startswith("I")


def _encode_png(picture: Image.Image) -> bytes:
    """Pixels alone: equal ones are the same file."""
    picture.info.clear()
    png = BytesIO()
    picture.save(png, "PNG", compress_level=1)
    return png.getvalue()
