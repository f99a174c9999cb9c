"""The images that a job's ControlNets take: as they were submitted, or a preprocessor's control map."""

import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from shared.catalog.preprocessors import NONE
from shared.control_images.control_map import control_map_of
from shared.families.base import Config, FamilyFacts
from shared.jobs.families.controlnet_masks import check_inpainted_images, check_masks
from shared.jobs.families.controlnet_sides import check_controlnet_sides
from shared.jobs.spec import ControlNetSpec, JobSpec
from shared.keys import control_key
from shared.storage.object_store import Bucket
from workers.families.base import MaskedImage
from workers.unet.attempt_context import AttemptContext
from workers.unet.latents.input_images import read_input_images
from workers.unet.output.images import sha256


class ControlImage(NamedTuple):
    """A control image: the hash of its PNG in the image bucket, and what a ControlNet takes of it.

    In the host's memory: it is published there, and fetched by whoever computes the ControlNet.
    """

    sha256: str
    control: Tensor  # see `BaseModel.control_inputs`


def read_control_images(context: AttemptContext) -> list[ControlImage]:
    """The control image of each ControlNet of a job; a map computed here is stored for replays."""
    spec, model, tenant = context.spec, context.model, context.tenant
    images = context.worker.images
    size = model.size(spec.width, spec.height)
    names, pixels = [], []
    for controlnet in spec.controlnets:
        name, png = _read(controlnet, images, tenant)
        if controlnet.control_map is None and controlnet.preprocessor != NONE:
            with context.timeline.span(controlnet.preprocessor):
                png = control_map_of(png, controlnet.preprocessor, controlnet.preprocessor_options, size=size)
            name = sha256(png)
            images.put(control_key(name, tenant), png, content_type="image/png")
        with Image.open(io.BytesIO(png)) as image:
            shown = controlnet.control_range or model.facts.control_range
            pixels.append(in_range(model.read_control_image(image, size), shown))
        names.append(name)
    configs = [context.worker.controlnet_configs.config(one.name, model) for one in spec.controlnets]
    _check_traits(spec, model.facts, configs, size)
    if model.gives_mask_to_controlnets(spec):
        source = read_input_images(images, model, spec, tenant=tenant)
        assert source is not None, "the job has an image"
        assert source.mask is not None, "the job has a mask"
        masked = MaskedImage(source.pixels, source.mask)
        controls = model.masked_control_inputs(spec, pixels, configs, masked)
    else:
        controls = model.control_inputs(spec, pixels, configs, context.generators)
    return [ControlImage(name, control.cpu()) for name, control in zip(names, controls, strict=True)]


def in_range(pixels: Tensor, value_range: tuple[float, float]) -> Tensor:
    """``pixels`` in 0..1 as numbers between those for black and for white.

    With the bits of diffusers' ``2 * x - 1`` for (-1, 1), and of ``x * 255 * 0.5 + 0.5`` for (0.5, 128):
    halving rounds nothing.
    """
    black, white = value_range
    return pixels if (black, white) == (0.0, 1.0) else (white - black) * pixels + black


def _check_traits(
    spec: JobSpec, facts: FamilyFacts, configs: Sequence[Config], size: tuple[int, int]
) -> None:
    """Raise `InvalidRequest` for what the web could not know of a ControlNet on the hub."""
    traits = [facts.controlnet_traits(config) for config in configs]
    check_masks(spec.controlnets, traits, facts, has_mask=spec.mask_image is not None)
    check_inpainted_images(spec, traits)
    check_controlnet_sides(spec, traits, size)


def _read(controlnet: ControlNetSpec, images: Bucket, tenant: str) -> tuple[str, bytes]:
    """The control map if it is known already, as in a replay, else the submitted image."""
    name = controlnet.control_map or controlnet.image
    return name, images.get(control_key(name, tenant))
