"""Reads the images of one request: sent in base64, or stored already and named by their hash."""

import hashlib
import re
from functools import partial
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from api.services import Services
from api.submission.images.decode import BROKEN, check_header, decode_image
from api.submission.images.image_work import work_on_images
from shared.errors import InvalidImage, NotFound, StoredImageMissing
from shared.keys import control_key

#: How a request names an image that is stored; no base64 has a colon.
STORED = "sha256:"


class ReadImage(NamedTuple):
    """An image as it is stored: the sha256 of its PNG, and its size."""

    sha256: str
    width: int
    height: int


class ImageReader:
    """Reads a tenant's images, and collects their PNGs by sha256, and warnings, until the job is stored."""

    def __init__(self, services: Services, tenant: str) -> None:
        self._bucket, self._tenant = services.images, tenant
        self._max_px = services.settings.max_control_px
        self._services = services
        self.pngs: dict[str, bytes] = {}
        self.warnings: list[str] = []

    def read(self, text: str, *, field: str) -> ReadImage:
        """The image that ``text`` holds or names; raises `InvalidImage` for ``field``."""
        name = text[: len(STORED) + 80].strip().lower()
        if name.startswith(STORED):
            return self.read_stored(name.removeprefix(STORED), field=field)
        decode = partial(decode_image, text, max_px=self._max_px, field=field)
        decoded = work_on_images(decode, self._services)
        if decoded.is_transparent:
            self.warnings.append(
                f"{field}: the image is partly transparent: its transparency is ignored, and the colours"
                " under it are used"
            )
        return self._collect(decoded.png)

    def read_stored(self, sha256: str, *, field: str) -> ReadImage:
        """A stored image of the tenant; raises `InvalidImage` for ``field``, also if it was changed."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise InvalidImage(f"{sha256!r} is no sha256: 64 hexadecimal digits", field=field)
        try:
            png = self._bucket.get(control_key(sha256, self._tenant))
        except NotFound:
            raise StoredImageMissing(f"no image {STORED}{sha256} is stored (any more)", field=field) from None
        if hashlib.sha256(png).hexdigest() != sha256:
            raise InvalidImage(f"the stored image {STORED}{sha256} is damaged", field=field)
        try:
            with Image.open(BytesIO(png), formats=["PNG"]) as image:
                check_header(image, self._max_px, field)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning, *BROKEN):
            raise InvalidImage(
                f"the stored image {STORED}{sha256} is no image of a job", field=field
            ) from None
        return self._collect(png)

    def _collect(self, png: bytes) -> ReadImage:
        sha256 = hashlib.sha256(png).hexdigest()
        self.pngs[sha256] = png
        with Image.open(BytesIO(png)) as image:
            return ReadImage(sha256, image.width, image.height)
