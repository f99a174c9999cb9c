"""Computes the control map of an image, as a worker does for a job."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from api.services import Services
from api.submission.images.reader import ImageReader
from shared.control_images.control_map import control_map_of

#: Width and height in pixels.
Size = tuple[int, int]
#: A control map takes hundreds of megabytes while it is computed: few at a time.
_COMPUTATIONS = threading.BoundedSemaphore(2)


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
        with _COMPUTATIONS:
            return self._services.offload(compute)
