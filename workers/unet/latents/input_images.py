"""The image and the mask that a job starts from, as tensors."""

import io
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from shared.jobs.spec import JobSpec
from shared.keys import control_key
from shared.storage.object_store import Bucket
from workers.families.base import BaseModel


@dataclass(frozen=True)
class InputImages:
    """The input image and its mask, as tensors."""

    pixels: Tensor  # (1, 3, h, w), -1..1
    mask: Tensor | None  # (1, 1, h, w), 1 where the image is repainted, 0 where it is kept


def read_input_images(images: Bucket, model: BaseModel, spec: JobSpec, *, tenant: str) -> InputImages | None:
    """Image and mask of a tenant's job from the bucket ``images``, resized as diffusers does.

    ``None``: text alone.
    """
    if spec.image is None:
        return None
    size = model.size(spec.width, spec.height)

    def read(sha256: str) -> Image.Image:
        return Image.open(io.BytesIO(images.get(control_key(sha256, tenant))))

    return InputImages(
        model.read_image(read(spec.image), size),
        None if spec.mask_image is None else model.read_mask(read(spec.mask_image), size),
    )
