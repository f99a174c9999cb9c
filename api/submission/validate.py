"""First stage: every check that needs no server. What the request leaves open gets its default."""

from collections.abc import Sequence
from typing import NamedTuple

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.checks.controlnets import check_controlnets
from api.submission.checks.family import check_family
from api.submission.checks.known_names import known_name
from api.submission.checks.loras import check_loras
from api.submission.checks.output_format import check_quality
from api.submission.checks.seeds import check_seeds
from api.submission.checks.size import check_size, largest_side_px
from api.submission.checks.steps import check_steps
from api.submission.checks.strength import check_strength
from api.submission.prompts.read_prompts import read_prompts
from shared.catalog.schedulers import SCHEDULERS
from shared.jobs.families.asked_job import mode_of
from shared.jobs.options import JobOptions, LoraLoading, fields_of
from shared.jobs.spec import JobSpec


class ValidRequest(NamedTuple):
    """A request, and its job as far as it is known without asking a server: without LoRAs and images."""

    request: JobRequest
    draft: JobSpec
    #: Where each LoRA of the request is named: in ``loras``, or in the prompt.
    lora_fields: Sequence[str]


def validate(request: JobRequest, services: Services) -> ValidRequest:
    """Check a request against catalog and settings; raises `InvalidRequest` for the field at fault."""
    catalog, settings = services.catalog, services.settings
    request, lora_fields = read_prompts(request)
    name = catalog.default_model if request.model is None else request.model
    model = catalog.models[known_name(name, catalog.models, "model", field="model")]
    scheduler = model.scheduler if request.scheduler is None else request.scheduler
    known_name(scheduler, SCHEDULERS, "scheduler", field="scheduler")
    families, limit = services.families, settings.max_steps
    mode, has_controlnets = mode_of(request.image, request.mask_image), bool(request.controlnets)
    usual = families.job_defaults(name, mode, has_controlnets=has_controlnets)
    config, facts, default = families.scheduler_config(name), families.facts(name), usual.num_inference_steps
    steps = check_steps(request, scheduler, config, default=default, limit=limit, facts=facts)
    strength = check_strength(request, steps, scheduler, default=usual.strength)
    seed, num_images = check_seeds(request, limit=settings.max_images)
    check_size(request, limit_px=largest_side_px(request, services, name))
    quality = check_quality(request)
    guidance_scale = usual.guidance_scale if request.guidance_scale is None else request.guidance_scale
    check_family(request, services, name, scheduler=scheduler, guidance_scale=guidance_scale)
    guess_mode = check_controlnets(request, services, name)
    check_loras(request, steps)
    default_width, default_height = (model.width, model.height) if request.image is None else (None, None)
    draft = JobSpec(
        **fields_of(JobOptions, request)
        | {"strength": strength, "guess_mode": guess_mode, "output_quality": quality},
        model=name,
        width=request.width or default_width,
        height=request.height or default_height,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        scheduler=scheduler,
        seed=seed,
        num_images=num_images,
        controlnets=[],
        loras=[],
        lora_loading=LoraLoading(**fields_of(LoraLoading, request.lora_loading)),
    )
    return ValidRequest(_with_scales(request, usual.conditioning_scale), draft, lora_fields)


def _with_scales(request: JobRequest, usual: float) -> JobRequest:
    """The request with a scale for each of its ControlNets."""
    controlnets = [
        one if one.conditioning_scale is not None else one.model_copy(update={"conditioning_scale": usual})
        for one in request.controlnets
    ]
    return request.model_copy(update={"controlnets": controlnets})
