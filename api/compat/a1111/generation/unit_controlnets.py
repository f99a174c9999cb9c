"""The ControlNets of a job that units of sd-webui-controlnet ask for."""

from typing import Any, NamedTuple

from api.compat.a1111.generation.controlnet_units import PLACE, ReadUnits, Unit
from api.compat.a1111.generation.images.init_image import InitImage, base64_png
from api.compat.a1111.generation.images.resizing import ResizeMode, Size, resize, resize_control_map
from api.compat.a1111.generation.preprocessors import find_preprocessor, read_thresholds
from api.compat.a1111.generation.union_types import control_mode_of
from api.compat.a1111.models import without_hash
from api.services import Services
from api.submission.images.decode import decode_rgba
from shared.catalog.preprocessors import NONE
from shared.errors import InvalidRequest
from shared.families.controlnets import ControlNetTraits

#: Modules that cut what the mask marks out of the control image, as ControlNets that inpaint have it done for
#: them. `MaskedImage` puts back what is around the mask, in which some of these differ.
_INPAINT_MODULES = ("inpaint", "inpaint_only", "inpaint_global_harmonious")


class JobImages(NamedTuple):
    """What control images are fitted to."""

    size: Size | None  # of the job; ``None``: of the model's own, which is not known here
    init: InitImage | None
    max_px: int  # width times height of an image that was sent


def unit_fields(read: ReadUnits, services: Services, images: JobImages) -> dict[str, Any]:
    """Fields of a job with these units, of which there must be some.

    Raises `InvalidImage` for an image, `InvalidRequest` for a field.
    """
    controlnets = [_controlnet(place, unit, services, images) for place, unit in read.units]
    return {"controlnets": controlnets, "guess_mode": read.units[0][1].picks_control}


def _controlnet(place: int, unit: Unit, services: Services, images: JobImages) -> dict[str, Any]:
    name, field = without_hash(unit.model), f"{PLACE}.{place}"
    is_known = name in services.catalog.controlnets  # if not, it is refused later
    traits = services.families.controlnet(name) if is_known else None
    preprocessor = _preprocessor(unit, traits)
    mode_field = f"{field}.union_control_type"
    return {
        "name": name,
        "image": _image(unit, f"{field}.image", traits, images),
        "conditioning_scale": unit.weight,
        "guidance_start": unit.guidance_start,
        "guidance_end": unit.guidance_end,
        "preprocessor": preprocessor,
        "preprocessor_options": read_thresholds(preprocessor, unit.threshold_a, unit.threshold_b).options,
        "control_mode": control_mode_of(
            unit.union_control_type, preprocessor, name, traits, field=mode_field
        ),
    }


def _preprocessor(unit: Unit, traits: ControlNetTraits | None) -> str:
    name = find_preprocessor(unit.module)
    return NONE if traits is not None and traits.mask == "required" and name in _INPAINT_MODULES else name


def _image(unit: Unit, field: str, traits: ControlNetTraits | None, images: JobImages) -> str | None:
    """The control image in the size of the job; without one it is the image that the job starts from.

    ``None``: a ControlNet that inpaints is shown that image, and has none of its own.
    """
    text = _text_of(unit.image, field)
    init, size, mode = images.init, images.size, unit.resize_mode
    if traits is not None and traits.mask == "required":
        if text:
            name = without_hash(unit.model)
            detail = f"ControlNet {name!r} inpaints the image of img2img: leave the unit's own out"
            raise InvalidRequest(detail, field=field)
        return None
    if not text:
        if init is None:
            raise InvalidRequest("the unit has no image", field=field)
        return base64_png(init.image)
    masked = init.masked if init and unit.inpaint_crop_input_image else None
    is_cropped = masked is not None and masked.region is not None
    if not is_cropped and (size is None or mode is ResizeMode.JUST_RESIZE):
        return text  # workers resize it so
    image = decode_rgba(text, max_px=images.max_px, field=field).convert("RGB")
    if masked is not None:
        image = masked.crop(image, mode)
    assert size is not None, "a job that starts from an image has a size"
    if not is_cropped and image.width * size[1] == image.height * size[0]:
        return text
    is_map = find_preprocessor(unit.module) == NONE
    return base64_png((resize_control_map if is_map else resize)(image, size, mode))


def _text_of(image: Any, field: str) -> str:
    """An image's text; it may be sent with a mask, in an object or in a list."""
    mask = None
    if isinstance(image, list):
        image, mask = (*image, None, None)[:2]
    if isinstance(image, dict):
        image, mask = image.get("image"), image.get("mask")
    if mask:
        raise InvalidRequest("the mask of a unit is not supported", field=field)
    if image is not None and not isinstance(image, str):
        raise InvalidRequest("an image is text in base64", field=field)
    return image or ""
