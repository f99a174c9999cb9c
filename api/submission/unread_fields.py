"""Tells a client which fields of its request have no effect, where they are not refused."""

from api.schemas.job_request import JobRequest
from api.services import Services
from shared.jobs.families.asked_job import mode_of
from shared.jobs.families.options import set_fields

#: Fields about how an unconditional branch guides: without one nothing reads them.
_OF_GUIDANCE = ("cfg_normalization", "cfg_truncation", "guidance_rescale")


def warn_of_unread(request: JobRequest, services: Services, model: str) -> list[str]:
    """Warnings about fields that the request says and nothing reads, as far as that is known here."""
    return [*_of_scale(request, services, model), *_of_guidance(request, services, model)]


def _of_scale(request: JobRequest, services: Services, model: str) -> list[str]:
    if request.guidance_scale is None:
        return []
    names = [controlnet.name for controlnet in request.controlnets]
    if services.families.reads_guidance_scale(model, names) is not False:
        return []
    facts = services.families.facts(model)
    assert facts is not None, "it does not read the scale"
    mode = mode_of(request.image, request.mask_image)
    taken = facts.fields_in(mode, has_controlnets=bool(request.controlnets))
    other = "; true_cfg_scale with a negative_prompt guides it" if "true_cfg_scale" in taken else ""
    return [f"guidance_scale is ignored: model {model!r} ({facts.label}) does not read it{other}"]


def _of_guidance(request: JobRequest, services: Services, model: str) -> list[str]:
    facts, mode = services.families.facts(model), mode_of(request.image, request.mask_image)
    if facts is None or facts.guidance_begins_above is None:
        return []
    usual = services.families.job_defaults(model, mode, has_controlnets=bool(request.controlnets))
    scale = usual.guidance_scale if request.guidance_scale is None else request.guidance_scale
    if facts.has_distilled_guidance(services.families.denoiser_config(model) or {}):
        why = f"model {model!r} has guidance distilled in, and no unconditional branch"
    elif scale <= facts.guidance_begins_above:
        least = f"{facts.guidance_begins_above:g}"
        why = f"the job has no guidance, which begins above a guidance_scale of {least}"
    else:
        return []
    return [f"{name} is ignored: {why}" for name in set_fields(request, _OF_GUIDANCE)]
