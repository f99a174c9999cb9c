"""First stage: every check that needs no server. What the request leaves open gets its default."""

from dataclasses import dataclass

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.checks.controlnets import check_controlnets
from api.submission.checks.family import check_family
from api.submission.checks.known_names import known_name
from api.submission.checks.loras import check_loras
from api.submission.checks.seeds import check_seeds
from api.submission.checks.size import check_size
from api.submission.checks.steps import check_steps
from api.submission.checks.strength import check_strength
from shared.catalog.schedulers import SCHEDULERS


@dataclass(frozen=True, kw_only=True)
class ValidRequest:
    """A request that this fleet can serve as far as it is known without asking a server."""

    request: JobRequest
    model: str
    scheduler: str
    num_inference_steps: int
    guidance_scale: float
    width: int | None  # None: the input image's, or the model's own
    height: int | None
    strength: float | None
    seed: int
    num_images: int
    guess_mode: bool


def validate(request: JobRequest, services: Services) -> ValidRequest:
    """Check a request against catalog and settings; raises `InvalidRequest` for the field at fault."""
    catalog, settings = services.catalog, services.settings
    name = catalog.default_model if request.model is None else request.model
    model = catalog.models[known_name(name, catalog.models, "model", field="model")]
    scheduler = model.scheduler if request.scheduler is None else request.scheduler
    known_name(scheduler, SCHEDULERS, "scheduler", field="scheduler")
    steps = check_steps(
        request, model, scheduler, services.families.scheduler_config(name), limit=settings.max_steps
    )
    strength = check_strength(request, steps)
    seed, num_images = check_seeds(request, limit=settings.max_images)
    check_size(request, limit_px=settings.max_side_px)
    check_family(request, services, name)
    guess_mode = check_controlnets(request, services, name)
    check_loras(request, steps)
    has_image = request.image is not None
    return ValidRequest(
        request=request,
        model=name,
        scheduler=scheduler,
        num_inference_steps=steps,
        guidance_scale=model.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        width=request.width or (None if has_image else model.width),
        height=request.height or (None if has_image else model.height),
        strength=strength,
        seed=seed,
        num_images=num_images,
        guess_mode=guess_mode,
    )
