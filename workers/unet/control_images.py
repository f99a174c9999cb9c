"""The images that a job's ControlNets take: as they were submitted, or a preprocessor's control map."""

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image
from torch import Generator, Tensor

from shared.catalog.preprocessors import NONE
from shared.control_images.control_map import control_map_of
from shared.jobs.spec import ControlNetSpec, JobSpec
from shared.keys import control_key
from shared.storage.object_store import Bucket
from workers.families.base import BaseModel
from workers.unet.output.images import sha256
from workers.unet.timeline import Timeline


class ControlImage(NamedTuple):
    """A control image: the hash of its PNG in the image bucket, and its pixels as a ControlNet takes them."""

    sha256: str
    control: Tensor  # see `BaseModel.control_input`


def read_control_images(
    spec: JobSpec,
    model: BaseModel,
    images: Bucket,
    generators: Sequence[Generator],
    timeline: Timeline,
    *,
    tenant: str,
) -> list[ControlImage]:
    """The control image of each ControlNet of a tenant's job; a map computed here is stored for replays."""
    size = model.size(spec.width, spec.height)
    found = []
    for controlnet in spec.controlnets:
        name, png = _read(controlnet, images, tenant)
        if controlnet.control_map is None and controlnet.preprocessor != NONE:
            with timeline.span(controlnet.preprocessor):
                png = control_map_of(png, controlnet.preprocessor, controlnet.preprocessor_options, size=size)
            name = sha256(png)
            images.put(control_key(name, tenant), png, content_type="image/png")
        with Image.open(io.BytesIO(png)) as image:
            pixels = model.read_control_image(image, size)
        found.append(ControlImage(name, model.control_input(pixels, generators)))
    return found


def _read(controlnet: ControlNetSpec, images: Bucket, tenant: str) -> tuple[str, bytes]:
    """The control map if it is known already, as in a replay, else the submitted image."""
    name = controlnet.control_map or controlnet.image
    return name, images.get(control_key(name, tenant))
