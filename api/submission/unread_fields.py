"""Tells a client which fields of its request have no effect, where they are not refused."""

from api.schemas.job_request import JobRequest
from api.services import Services
from shared.jobs.families.asked_job import mode_of


def warn_of_unread(request: JobRequest, services: Services, model: str) -> list[str]:
    """Warnings about fields that the request says and nothing reads, as far as that is known here."""
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
