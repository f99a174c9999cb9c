"""The image that a job draws over and the mask that says where: checked, measured, stored by content."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.images.decode import store_control_image, take_control_image
from api.submission.warn import Warn
from shared.errors import InvalidImage, InvalidRequest
from shared.settings import Settings
from shared.storage.object_store import Bucket

#: Sides of pictures are multiples of this.
GRID_PX = 8
#: How much is drawn anew unless the job says: of an image, and where a mask says so.
STRENGTH, STRENGTH_IN_MASK = 0.8, 1.0


@dataclass(frozen=True)
class InputImages:
    """PNGs of a job's own; ``width`` and ``height`` are its picture's unless it asks for others."""

    image: bytes
    mask_image: bytes | None
    width: int
    height: int

    def store(self, images: Bucket) -> dict[str, Any]:
        """Put what there is into the bucket; returns names by field."""
        pngs = {"image": self.image, "mask_image": self.mask_image}
        return {field: store_control_image(images, png) for field, png in pngs.items() if png is not None}


def resolve_strength(request: JobRequest, steps: int) -> float | None:
    """How much of ``steps`` is run; raises `InvalidRequest` for what has no image, and for nothing left."""
    if request.image is None:
        for field in ("mask_image", "strength"):
            if getattr(request, field) is not None:
                raise InvalidRequest(f"{field} needs an image", field=field)
        return None
    default = STRENGTH if request.mask_image is None else STRENGTH_IN_MASK
    strength = default if request.strength is None else request.strength
    if int(steps * strength) < 1:
        detail = f"strength {strength} of {steps} steps leaves none to run"
        raise InvalidRequest(detail, field="strength")
    return strength


def take_input_images(request: JobRequest, services: Services, warn: Warn) -> InputImages | None:
    """Image and mask of a job; raises `InvalidImage` for the field at fault."""
    if request.image is None:
        return None
    image, (width, height) = _take(request.image, "image", services, warn)
    mask = None
    if request.mask_image is not None:
        mask, size = _take(request.mask_image, "mask_image", services, warn)
        if size != (width, height):
            detail = f"the mask has {size[0]} x {size[1]} pixels, its image {width} x {height}"
            raise InvalidImage(detail, field="mask_image")
    source = InputImages(
        image,
        mask,
        request.width or width // GRID_PX * GRID_PX,
        request.height or height // GRID_PX * GRID_PX,
    )
    _check_size(source, services.settings)
    return source


def _take(text: str, field: str, services: Services, warn: Warn) -> tuple[bytes, tuple[int, int]]:
    max_px = services.settings.max_control_px
    png = take_control_image(
        services.images, text, max_px=max_px, field=field, warn=warn, offload=services.offload
    )
    with Image.open(BytesIO(png)) as picture:
        return png, picture.size


def _check_size(source: InputImages, settings: Settings) -> None:
    if not source.width or not source.height:
        raise InvalidImage(f"the image is smaller than {GRID_PX} pixels", field="image")
    if max(source.width, source.height) > settings.max_side_px:
        detail = f"the picture would have {source.width} x {source.height} pixels, the limit of a side is"
        raise InvalidImage(f"{detail} {settings.max_side_px}: ask for a width and a height", field="image")
