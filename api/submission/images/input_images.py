"""The image that a job starts from, its mask, and the size that they give the job."""

from typing import NamedTuple

from api.schemas.job_request import JobRequest
from api.submission.images.reader import ImageReader
from shared.errors import InvalidImage


class InputImages(NamedTuple):
    """sha256 of image and mask, and the size of the image that is generated."""

    image: str
    mask_image: str | None
    width: int
    height: int


def read_input_images(
    request: JobRequest, reader: ImageReader, *, size_multiple: int, limit_px: int
) -> InputImages:
    """Image and mask of a request that has an image; raises `InvalidImage` for the field at fault.

    A side that the request does not name is the image's, rounded down to a multiple of ``size_multiple``.
    """
    assert request.image is not None
    image = reader.read(request.image, field="image")
    mask = None
    if request.mask_image is not None:
        mask = reader.read(request.mask_image, field="mask_image")
        if (mask.width, mask.height) != (image.width, image.height):
            detail = f"the mask has {mask.width} x {mask.height} pixels, its image {image.width} x"
            raise InvalidImage(f"{detail} {image.height}", field="mask_image")
    width = request.width or image.width // size_multiple * size_multiple
    height = request.height or image.height // size_multiple * size_multiple
    if not width or not height:
        raise InvalidImage(f"the image is smaller than {size_multiple} pixels", field="image")
    _check_limit(width, height, limit_px)
    return InputImages(image.sha256, mask.sha256 if mask else None, width, height)


def _check_limit(width: int, height: int, limit_px: int) -> None:
    if max(width, height) > limit_px:
        detail = f"the generated image would have {width} x {height} pixels, the limit of a side is"
        raise InvalidImage(f"{detail} {limit_px}: ask for a width and a height", field="image")
