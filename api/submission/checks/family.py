"""Whether the family of a request's model has what the request asks of it."""

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.known_model import known_model
from shared.errors import InvalidRequest
from shared.families.base import FamilyFacts
from shared.families.registry import families
from shared.jobs.families.asked_job import AskedJob, KnownModel, mode_of
from shared.jobs.families.checks import check_job
from shared.jobs.families.words import takers
from shared.jobs.lora_scales import PartScales


def check_family(
    request: JobRequest, services: Services, model: str, *, scheduler: str, guidance_scale: float
) -> None:
    """Raise `InvalidRequest` for what the model's family does not have.

    Nothing is checked if the family is not known before the model is loaded: the worker checks then.
    """
    known = known_model(services.families, model)
    _check_split(request, known and known.facts, model)
    if known is None:
        return
    _check_lora_parts(request, known)
    asked = AskedJob(
        options=request,
        mode=mode_of(request.image, request.mask_image),
        controlnets=[controlnet.name for controlnet in request.controlnets],
        scheduler=scheduler,
        guidance_scale=guidance_scale,
        sides={"width": request.width, "height": request.height},
    )
    check_job(asked, known)


def _check_lora_parts(request: JobRequest, model: KnownModel) -> None:
    trained, is_of = set(model.facts.lora_parts), f"model {model.name!r} is {model.described}"
    for i, lora in enumerate(request.loras):
        scales = lora.scale.model_dump(exclude_defaults=True) if isinstance(lora.scale, PartScales) else {}
        for part in sorted(scales.keys() - (trained - model.missing_parts)):
            who_take = takers(other for other in families() if part in other.lora_parts)
            why = f"only {who_take} {part}; {is_of}" if part not in trained else f"{is_of} without {part}"
            raise InvalidRequest(why, field=f"loras.{i}.scale.{part}")


def _check_split(request: JobRequest, facts: FamilyFacts | None, model: str) -> None:
    """Two workers compute what diffusers does only where it runs one forward for each branch, too."""
    if request.latent_parallelism != "on":
        return
    if facts is not None and not facts.rows_are_independent:
        detail = f"a step of {facts.label} is never split: its rows depend on each other (model {model!r})"
        raise InvalidRequest(detail, field="latent_parallelism")
    has_one_batch = facts is None or facts.guidance_batches == "one_batch"
    if request.lora_loading.mode != "bounded" and has_one_batch:
        mode = request.lora_loading.mode
        detail = f"latent_parallelism 'on' splits what lora_loading.mode {mode!r} keeps whole"
        raise InvalidRequest(detail, field="latent_parallelism")
