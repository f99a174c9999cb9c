"""What the fields of a call mean for a model that is no UNet; Forge's API has such models, and these names.

Its ``cfg_scale`` guides by an unconditional branch, as ``true_cfg_scale`` does here, and
``distilled_cfg_scale`` is the scale that a model was taught to follow. Z-Image's pipeline counts its
``guidance_scale`` from 0, where Forge's ``cfg_scale`` of the same guidance counts from 1. Where no pipeline
has such a branch, as in jobs of Flux from an image with ControlNets, ``cfg_scale``, which all clients send,
is left out with a warning. Source: lllyasviel/stable-diffusion-webui-forge, ``modules/processing.py``.
"""

from typing import Any

from api.compat.a1111.generation.fields import Img2ImgFields, Txt2ImgFields
from api.services import Services
from api.submission.prompts.lora_tags import take_out_tags
from shared.catalog.schedulers import SCHEDULERS
from shared.families.base import FamilyFacts, Mode
from shared.jobs.spec import JobSpec
from shared.prompts.errors import errors_of


def prompt_fields(fields: Txt2ImgFields, facts: FamilyFacts | None) -> dict[str, Any]:
    """The prompt of a job, and the LoRAs that it names; raises `InvalidRequest` for a wrong tag.

    Text encoders that cannot weigh tokens read it as it stands.
    """
    if facts is None or "a1111" in facts.prompt_syntaxes:
        return {"prompt": fields.prompt, "prompt_syntax": "a1111"}
    with errors_of("prompt"):
        prompt = take_out_tags(fields.prompt)
    loras = [{"name": tag.name, "scale": tag.weight} for tag in prompt.tags]
    return {"prompt": prompt.text, "loras": loras}


def guidance_fields(
    fields: Txt2ImgFields, facts: FamilyFacts | None, default_scale: float, *, has_controlnets: bool
) -> dict[str, Any]:
    """Scales and the negative prompt of a job; a negative prompt that nothing reads is left out, as there.

    ``default_scale`` is the model's ``guidance_scale``.
    """
    negative = fields.negative_prompt or None
    if facts is None or not facts.refuses_unread_prompts:
        return {"guidance_scale": fields.cfg_scale, "negative_prompt": negative}
    if facts.guidance_begins_above is not None:
        own = None if fields.cfg_scale is None else max(fields.cfg_scale - _offset(facts), 0.0)
        is_guided = (default_scale if own is None else own) > facts.guidance_begins_above
        return {"guidance_scale": own, "negative_prompt": negative if is_guided else None}
    scale = facts.true_cfg_scale if fields.cfg_scale is None else fields.cfg_scale
    takes_scale = _takes_scale(fields, facts, has_controlnets=has_controlnets)
    guided = {"true_cfg_scale": fields.cfg_scale, "negative_prompt": fields.negative_prompt}
    return {"guidance_scale": fields.distilled_cfg_scale, **(guided if takes_scale and scale > 1 else {})}


def strength_field(
    fields: Img2ImgFields, facts: FamilyFacts | None, *, has_controlnets: bool
) -> dict[str, Any]:
    """``denoising_strength``; its default is left out where ControlNets inpaint: these begin from noise."""
    is_said = "denoising_strength" in fields.model_fields_set
    begins_from_noise = facts is not None and facts.mask_reader != "base_model"
    if has_controlnets and fields.mask and begins_from_noise and not is_said:
        return {}
    return {"strength": fields.denoising_strength}


def cfg_scale_of(spec: JobSpec, facts: FamilyFacts | None) -> float:
    """The ``cfg_scale`` of a job, from which `guidance_fields` makes its scale; ``facts`` may be unknown."""
    if spec.true_cfg_scale is not None:
        return spec.true_cfg_scale
    return spec.guidance_scale + _offset(facts)


def told_cfg_scale(spec: JobSpec, services: Services) -> float | None:
    """The ``cfg_scale`` of a job as its text tells it.

    None: its model has left the catalog, and families that match flow count its scale from 0 or from 1.
    """
    scheduler = SCHEDULERS.get(spec.scheduler)
    is_sure = scheduler is not None and not scheduler.matches_flow
    if spec.model not in services.catalog.models and spec.true_cfg_scale is None and not is_sure:
        return None
    return cfg_scale_of(spec, services.families.facts(spec.model))


def guidance_warnings(
    fields: Txt2ImgFields, facts: FamilyFacts | None, *, has_controlnets: bool
) -> list[str]:
    """Warns of a scale that `guidance_fields` leaves out, and of the negative prompt that goes with it."""
    if facts is None or facts.guidance_begins_above is not None or (fields.cfg_scale or 1) <= 1:
        return []
    if _takes_scale(fields, facts, has_controlnets=has_controlnets):
        return []
    left_out = "cfg_scale and negative_prompt are" if fields.negative_prompt else "cfg_scale is"
    with_controlnets = " with ControlNets" if has_controlnets else ""
    return [f"{left_out} ignored: {facts.label} has no unconditional branch in this mode{with_controlnets}"]


def _offset(facts: FamilyFacts | None) -> float:
    """What ``cfg_scale`` is above ``guidance_scale``: 1 where guidance begins above 0."""
    begins = None if facts is None else facts.guidance_begins_above
    return 0.0 if begins is None else 1.0 - begins


def _takes_scale(fields: Txt2ImgFields, facts: FamilyFacts, *, has_controlnets: bool) -> bool:
    return "true_cfg_scale" in facts.fields_in(_mode(fields), has_controlnets=has_controlnets)


def _mode(fields: Txt2ImgFields) -> Mode:
    if not isinstance(fields, Img2ImgFields):
        return "text"
    return "mask" if fields.mask else "image"
