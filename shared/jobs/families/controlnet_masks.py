"""Whether a job's ControlNets fit its mask: asked by the web, and by the worker again."""

from collections.abc import Sequence

from shared.catalog.preprocessors import NONE
from shared.errors import InvalidRequest
from shared.families.base import FamilyFacts
from shared.families.controlnets import ControlNetTraits
from shared.jobs.options import ControlNetOptions
from shared.jobs.spec import JobSpec

#: Of a ControlNet that sees the job's image without what the mask marks, as its base model would.
UNUSED_RANGE = "control_range changes nothing of a ControlNet that was trained to inpaint: leave it out"


def check_masks(
    controlnets: Sequence[ControlNetOptions],
    traits: Sequence[ControlNetTraits | None],
    facts: FamilyFacts,
    *,
    has_mask: bool,
) -> None:
    """Raise `InvalidRequest` for the first ControlNet that can do nothing with the job's mask, or lacks one.

    ``traits``: of each ControlNet, as far as they are known.
    """
    for i, (controlnet, own) in enumerate(zip(controlnets, traits, strict=True)):
        if own is None:
            continue
        who, place = f"ControlNet {controlnet.name!r}", f"controlnets.{i}"
        if has_mask and "mask" not in facts.modes_with(own):
            detail = f"{who} was not trained to inpaint: it takes no mask_image"
            raise InvalidRequest(detail, field=f"{place}.name")
        if own.mask == "required" and not has_mask:
            detail = f"{who} was trained to inpaint: it needs an image and a mask_image"
            raise InvalidRequest(detail, field=f"{place}.name")
        if own.mask == "required" and controlnet.preprocessor != NONE:
            detail = f"{who} inpaints the job's image as it is: it takes no preprocessor"
            raise InvalidRequest(detail, field=f"{place}.preprocessor")


def check_inpainted_images(spec: JobSpec, traits: Sequence[ControlNetTraits | None]) -> None:
    """Raise `InvalidRequest` for a ControlNet that inpaints, and has an image or a range of its own."""
    for i, (controlnet, own) in enumerate(zip(spec.controlnets, traits, strict=True)):
        if own is None or own.mask != "required":
            continue
        if controlnet.image != spec.image:
            detail = f"ControlNet {controlnet.name!r} inpaints the job's image: leave its own out"
            raise InvalidRequest(detail, field=f"controlnets.{i}.image")
        if controlnet.control_range is not None:
            detail = f"ControlNet {controlnet.name!r}: the catalog's {UNUSED_RANGE}"
            raise InvalidRequest(detail, field=f"controlnets.{i}.name")
