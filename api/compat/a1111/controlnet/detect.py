"""``/controlnet/detect``: control maps of images, without a job."""

import base64
from typing import Any

from pydantic import BaseModel, ConfigDict

from api.compat.a1111.controlnet.modules import (
    DEFAULT_RESOLUTION,
    MAX_RESOLUTION,
    MIN_RESOLUTION,
    RESOLVED,
)
from api.compat.a1111.generation.preprocessors import UNSET, find_preprocessor, read_thresholds
from api.services import Services
from api.submission.images.control_maps import ControlMaps, Size
from shared.catalog.preprocessors import NONE, PREPROCESSORS
from shared.errors import InvalidRequest
from shared.message_base import Finite

_IMAGES = "controlnet_input_images"


class DetectFields(BaseModel):
    """What the call takes; no preprocessor here takes a mask. ``controlnet_images`` is an older name."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    controlnet_module: str = NONE
    controlnet_input_images: list[str] = []
    controlnet_images: list[str] = []
    controlnet_processor_res: int = UNSET
    controlnet_threshold_a: Finite = UNSET
    controlnet_threshold_b: Finite = UNSET


class DetectResponse(BaseModel):
    """``images`` are base64, without a prefix."""

    images: list[str]
    info: str = "Success"


def detect(body: dict[str, Any], services: Services, tenant: str) -> DetectResponse:
    """The control maps of all images of a call.

    Raises pydantic's `ValidationError`, `InvalidRequest` for a preprocessor that is unknown or none or too
    many images, and `InvalidImage`.
    """
    fields = DetectFields.model_validate({name: value for name, value in body.items() if value is not None})
    preprocessor = find_preprocessor(fields.controlnet_module)
    if preprocessor not in PREPROCESSORS:
        known = ", ".join(PREPROCESSORS)
        detail = f"Module not available: {preprocessor[:60]!r}; known are {known}"
        raise InvalidRequest(detail, field="controlnet_module")
    images, limit = fields.controlnet_input_images or fields.controlnet_images, services.settings.max_images
    if not 0 < len(images) <= limit:
        detail = f"{len(images)} images, the limit is {limit}" if images else "No image selected"
        raise InvalidRequest(detail, field=_IMAGES)
    options = read_thresholds(preprocessor, fields.controlnet_threshold_a, fields.controlnet_threshold_b)
    filled = PREPROCESSORS[preprocessor].model_validate(options.options).model_dump()
    resolution = _resolution(fields.controlnet_processor_res) if preprocessor in RESOLVED else None
    maps, limit_px = ControlMaps(services, tenant), services.settings.max_side_px

    def size_of(own: Size) -> Size:
        return _size(own, resolution, limit_px)

    computed = (
        maps.compute(image, preprocessor, filled, field=f"{_IMAGES}.{n}", size_of=size_of)
        for n, image in enumerate(images)
    )
    return DetectResponse(images=[base64.b64encode(png).decode() for png in computed])


def _resolution(asked: int) -> int:
    """One out of bounds is the default, as there."""
    return asked if MIN_RESOLUTION <= asked <= MAX_RESOLUTION else DEFAULT_RESOLUTION


def _size(own: Size, resolution: int | None, limit_px: int) -> Size:
    """The size of a map: its shorter side is the resolution."""
    scale = 1.0 if resolution is None else resolution / min(own)
    size = round(own[0] * scale), round(own[1] * scale)
    if max(size) > limit_px:
        detail = f"the control map would have {size[0]} x {size[1]} pixels, the limit of a side is {limit_px}"
        raise InvalidRequest(detail, field=_IMAGES if resolution is None else "controlnet_processor_res")
    return size
