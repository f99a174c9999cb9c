"""What a job's ControlNets are shown: control images as they are stored, or the maps made of them."""

import io
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from shared.catalog.preprocessors import NONE
from shared.jobs.spec import ControlNetSpec, JobSpec
from shared.keys import control_key
from shared.storage.object_store import Bucket
from workers.families.base import BaseModel
from workers.unet.output.images import sha256
from workers.unet.timeline import Timeline


class ControlImage(NamedTuple):
    """A map, by the hash of its PNG in the image bucket, and as a ControlNet takes it."""

    sha256: str
    pixels: Tensor  # (1, 3, h, w)


def read_control_images(
    spec: JobSpec, model: BaseModel, images: Bucket, timeline: Timeline
) -> list[ControlImage]:
    """What each ControlNet of the job is shown; a map that was made here is stored beside its source."""
    size = model.size(spec.width, spec.height)
    found = []
    for controlnet in spec.controlnets:
        name, png = _stored(controlnet, images)
        if controlnet.control_map is None and controlnet.preprocessor != NONE:
            with timeline.span(controlnet.preprocessor):
                png = _preprocessed(controlnet, png, size)
            name = sha256(png)
            images.put(control_key(name), png, content_type="image/png")
        with Image.open(io.BytesIO(png)) as image:
            found.append(ControlImage(name, model.read_control_image(image, size)))
    return found


def _stored(controlnet: ControlNetSpec, images: Bucket) -> tuple[str, bytes]:
    """A map that is known already, so that a replay sees the same bytes, else the source."""
    name = controlnet.control_map or controlnet.image
    return name, images.get(control_key(name))


def _preprocessed(controlnet: ControlNetSpec, png: bytes, size: tuple[int, int]) -> bytes:
    """Resized first: an edge is one pixel of the finished picture wide, whatever the source's size."""
    from workers.unet.controlnet.preprocessors import (
        compute_control_map,  # with OpenCV, which other jobs need not load
    )

    with Image.open(io.BytesIO(png)) as picture:
        resized = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return compute_control_map(resized, controlnet.preprocessor, controlnet.preprocessor_options)
