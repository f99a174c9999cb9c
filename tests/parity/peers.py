"""Whether diffusers has a pipeline that takes every option of a row: else nothing can be compared."""

import inspect
from functools import cache
from typing import Any

from shared.catalog.schedulers import SCHEDULERS
from tests.parity.rows import Row
from tests.transformers_peer import pipeline_class

#: These schedulers of diffusers fail by themselves on the infinite first sigma of a zero-SNR schedule.
_NO_ZERO_SNR = {"dpmpp_2m_beta", "dpmpp_2m_sde_beta", "unipc_beta"}
#: Pipelines of transformers, by the beginning of a layout's name.
_PIPELINES = {"flux": "Flux", "sd3": "StableDiffusion3", "qwen-image": "QwenImage", "z-image": "ZImage"}
#: What a pipeline calls a field of a job, where it has another name, of the job and of its ControlNets.
_ARGUMENTS = {"num_images": "num_images_per_prompt", "seeds": "generator"}
_CONTROLNET_ARGUMENTS = {
    "image": "control_image",
    "conditioning_scale": "controlnet_conditioning_scale",
    "guidance_start": "control_guidance_start",
    "guidance_end": "control_guidance_end",
    "control_mode": "control_mode",
}
#: The same of jobs whose ControlNets are shown image and mask, and nothing else.
_MASKED_ARGUMENTS = {"image": "control_image", "mask_image": "control_mask"}
#: Fields that the pipeline is not told.
_OF_THE_SCHEDULER = {"scheduler", "shift", "seed"}


def has_peer(row: Row) -> bool:
    """Whether diffusers can be asked for the same."""
    return _transformer_has_peer(row) if row.model.is_transformer else _unet_has_peer(row)


def _transformer_has_peer(row: Row) -> bool:
    base = next(name for layout, name in _PIPELINES.items() if row.model.layout.startswith(layout))
    kind = pipeline_class(base, row.task, has_controlnets=row.controlnets != "none")
    begins_with_noise = row.task == "text" or row.masks_by_controlnets
    if kind is None or not (begins_with_noise or SCHEDULERS[row.scheduler].begins_from_image):
        return False
    if row.scheduler == "dpmpp_2m_flow" and base == "Flux" and row.controlnets != "none":
        return False  # the scheduler takes no sigmas, and this pipeline always gives some
    if row.scheduler == "dpmpp_2m_flow" and row.model.layout == "flux-schnell":
        return False  # the scheduler takes no mu for a static shift, and this pipeline always gives one
    mode = row.model.axes.modes[row.mode]
    if base == "ZImage" and row.scheduler == "unipc_flow":
        return False  # its pipelines give this scheduler no sigmas that it can compute with
    if base == "ZImage" and row.task == "mask" and row.body["width"] != row.body["height"]:
        return False  # this pipeline takes the one for the other
    if row.task != "text" and mode.get("num_images", 1) > 1 and row.controlnets in ("union", "two-modes"):
        return False  # these pipelines fail with the mode of a union for several images
    if base == "StableDiffusion3" and row.task == "image" and mode.get("num_images", 1) > 1:
        return False  # its pipeline fails with a generator for each image
    arguments, mode = dict(_ARGUMENTS), dict(mode)
    if row.controlnets == "inpaint":
        if row.task != "mask":
            return False
        arguments |= _MASKED_ARGUMENTS
    if row.masks_by_controlnets and mode.pop("strength", None) != 1.0:
        return False  # these pipelines generate all that a mask marks
    wanted = {arguments.get(name, name) for name, value in mode.items() if value is not None}
    for controlnet in row.model.axes.controlnets[row.controlnets]:
        wanted |= {_CONTROLNET_ARGUMENTS[name] for name in controlnet if name != "name"}
    return wanted - _OF_THE_SCHEDULER <= _parameters(kind)


@cache
def _parameters(kind: Any) -> frozenset[str]:
    """What a pipeline takes."""
    return frozenset(inspect.signature(kind.__call__).parameters)


def _unet_has_peer(row: Row) -> bool:
    body, is_sdxl = row.body, row.model.is_sdxl
    has_image, has_controlnets = row.task != "text", row.controlnets != "none"
    if row.family == "sd2-zero-snr" and row.scheduler in _NO_ZERO_SNR:
        return False
    if "guidance_rescale" in body and (has_controlnets or (has_image and not is_sdxl)):
        return False
    if row.controlnets == "union" and (not is_sdxl or row.model.layout.endswith("inpaint")):
        return False  # its pipelines are SDXL's, and refuse a UNet of 9 channels by mistake
    if not (has_image and has_controlnets):
        return True
    places_steps = any(body.get(field) for field in ("timesteps", "sigmas"))
    is_distilled = "lcm" in row.model.layout
    return not (places_steps or is_distilled or (row.mode == "sizes" and row.task == "mask"))
