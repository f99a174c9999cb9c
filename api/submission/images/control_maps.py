"""Computes the control map of an image, as a worker does for a job."""

import threading
from functools import partial

from api.schemas.preprocess_request import PreprocessRequest
from api.services import Services
from api.submission.images.reader import ImageReader
from shared.control_images.control_map import control_map_of
from shared.errors import InvalidRequest

#: A control map takes hundreds of megabytes while it is computed: few at a time.
_COMPUTATIONS = threading.BoundedSemaphore(2)


def compute_control_map(request: PreprocessRequest, services: Services, tenant: str) -> bytes:
    """The control map of a tenant's image, as PNG; nothing is stored.

    Raises `InvalidImage`, or `InvalidRequest` for a control map that is larger than a generated image may be.
    """
    reader = ImageReader(services, tenant)
    image = reader.read(request.image, field="image")
    size = request.width or image.width, request.height or image.height
    _check_limit(request, size, services.settings.max_side_px)
    compute = partial(
        control_map_of,
        reader.pngs[image.sha256],
        request.preprocessor,
        request.preprocessor_options,
        size=size,
    )
    with _COMPUTATIONS:
        return services.offload(compute)


def _check_limit(request: PreprocessRequest, size: tuple[int, int], limit_px: int) -> None:
    for field, asked, side in (("width", request.width, size[0]), ("height", request.height, size[1])):
        if side > limit_px:
            hint = "" if asked else ": ask for a smaller one than the image's"
            raise InvalidRequest(f"{field} is {side}, the limit is {limit_px}{hint}", field=field)
