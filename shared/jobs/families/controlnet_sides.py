"""Whether a job's ControlNets have positions for its image: asked by the web, and by the worker again."""

from collections.abc import Sequence

from shared.errors import InvalidRequest
from shared.families.controlnets import ControlNetTraits
from shared.jobs.spec import JobSpec


def check_controlnet_sides(
    spec: JobSpec, traits: Sequence[ControlNetTraits | None], size: tuple[int, int]
) -> None:
    """Raise `InvalidRequest` for the first side of the image that is too long for a ControlNet.

    ``traits``: of each ControlNet, as far as they are known; ``size``: width and height in px.
    """
    for controlnet, own in zip(spec.controlnets, traits, strict=True):
        if own is None or own.max_side_px is None:
            continue
        for field, value in zip(("width", "height"), size, strict=True):
            if value > own.max_side_px:
                detail = f"{field} is {value}; ControlNet {controlnet.name!r} takes at most {own.max_side_px}"
                raise InvalidRequest(detail, field=field)
