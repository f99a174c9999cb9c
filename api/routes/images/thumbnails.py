"""Small images for lists, made of generated images when they are asked for."""

import io
from threading import Lock

from cachetools import TTLCache
from PIL import Image

from api.services import Services
from api.submission.images.image_work import work_on_images
from shared.errors import ImageGone, NotFound
from shared.image_files.formats import OutputFormat
from shared.jobs.record import StoredImage

#: An image whose larger side is no larger is its own thumbnail.
SIDE_PX = 320
FORMAT: OutputFormat = "jpeg"
QUALITY = 85
#: What all that are kept take, and how long one is: browsers keep them, too.
CACHE_BYTES, CACHE_S = 32 << 20, 600.0


class Thumbnails:
    """Makes thumbnails, and keeps the latest ones."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = Lock()
        self._made: TTLCache[str, bytes] = TTLCache(CACHE_BYTES, CACHE_S, getsizeof=len)

    def read(self, image: StoredImage) -> bytes:
        """The thumbnail of an image that needs one; raises `ImageGone`."""
        with self._lock:
            made = self._made.get(image.key)
        if made is None:
            try:
                data = self._services.images.get(image.key)
            except NotFound:
                raise ImageGone("the image was deleted: its time is over") from None
            made = work_on_images(lambda: _shrink(data), self._services)
            with self._lock:
                self._made[image.key] = made
        return made


def is_small(image: StoredImage) -> bool:
    """Whether an image is its own thumbnail."""
    return max(image.width, image.height) <= SIDE_PX


def _shrink(data: bytes) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, reducing_gap=2.0)
        image.convert("RGB").save(file, FORMAT.upper(), quality=QUALITY)
    return file.getvalue()
