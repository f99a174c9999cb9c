"""Computes the control map of an image, as a worker does for a job."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from api.services import Services
from api.submission.images.image_work import work_on_images
from api.submission.images.reader import ImageReader
from shared.control_images.control_map import control_map_of

#: Width and height in pixels.
Size = tuple[int, int]


class ControlMaps:
    """Computes control maps of a tenant's images; nothing is stored."""

    def __init__(self, services: Services, tenant: str) -> None:
        self._services, self._tenant = services, tenant

    def compute(
        self,
        image: str,
        preprocessor: str,
        options: Mapping[str, Any],
        *,
        field: str,
        size_of: Callable[[Size], Size],
    ) -> bytes:
        """The control map of an image, sent as a job's images are, as PNG.

        ``size_of`` tells its size from the image's, and raises for one that is not allowed. Raises
        `InvalidImage` for ``field``.
        """
        reader = ImageReader(self._services, self._tenant)
        read = reader.read(image, field=field)
        size = size_of((read.width, read.height))
        compute = partial(control_map_of, reader.pngs[read.sha256], preprocessor, options, size=size)
        return work_on_images(compute, self._services)
