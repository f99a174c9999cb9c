"""From what a client asks for to a job that can be drawn: defaults filled in, every name resolved."""

from collections.abc import Sequence

from api.schemas.job_request import ControlNetRequest, JobRequest
from api.services import Services
from api.submission.checks.controlnets import resolve_controlnets
from api.submission.checks.family import check_family
from api.submission.checks.known_names import known_name, listed
from api.submission.checks.seeds import resolve_seeds
from api.submission.checks.steps import OVERRIDES, check_number, resolve_steps
from api.submission.images.decode import store_control_image, take_control_image
from api.submission.images.input_images import resolve_strength, take_input_images
from api.submission.lora_refs import find_ref
from api.submission.warn import Warn, ignore
from shared.catalog.entries import ModelEntry
from shared.catalog.schedulers import SCHEDULERS
from shared.errors import InvalidRequest
from shared.jobs.options import ControlNetOptions, JobOptions, LoraLoading, fields_of
from shared.jobs.spec import ControlNetSpec, JobSpec


def resolve(request: JobRequest, services: Services, warn: Warn = ignore) -> JobSpec:
    """The job that ``request`` describes; raises `InvalidRequest` that points at the field at fault.

    ``warn`` is called with what will be generated otherwise than one may expect.
    Everything cheap is checked before S3 is asked, and images are stored last.
    """
    catalog = services.catalog
    name = catalog.default_model if request.model is None else request.model
    model = catalog.models[known_name(name, catalog.models, "model", field="model")]
    scheduler = model.scheduler if request.scheduler is None else request.scheduler
    known_name(scheduler, SCHEDULERS, "scheduler", field="scheduler")
    steps = resolve_steps(request, model, scheduler)
    strength = resolve_strength(request, steps)
    seed, num_images = resolve_seeds(request)
    _check_bounds(request, services, steps=steps, num_images=num_images)
    check_number(request, scheduler, steps, services.families.scheduler_config(name))
    check_family(request, services, name)
    guess_mode = resolve_controlnets(request, services, name)
    _check_loras(request, steps)
    loras = [find_ref(lora, name, services, field=f"loras.{i}.name") for i, lora in enumerate(request.loras)]
    source = take_input_images(request, services, warn)
    controlnets = _store_controls(request.controlnets, services, warn)
    return JobSpec(
        **fields_of(JobOptions, request) | {"strength": strength, "guess_mode": guess_mode},
        **source.store(services.images) if source else {},
        model=name,
        width=source.width if source else request.width or model.width,
        height=source.height if source else request.height or model.height,
        num_inference_steps=steps,
        guidance_scale=_guidance_scale(request, model),
        scheduler=scheduler,
        seed=seed,
        num_images=num_images,
        controlnets=controlnets,
        loras=loras,
        lora_loading=LoraLoading(**fields_of(LoraLoading, request.lora_loading)),
    )


def _guidance_scale(request: JobRequest, model: ModelEntry) -> float:
    return model.guidance_scale if request.guidance_scale is None else request.guidance_scale


def _check_bounds(request: JobRequest, services: Services, *, steps: int, num_images: int) -> None:
    settings = services.settings
    for field, value, limit, fields in (
        ("width", request.width, settings.max_side_px, ("width",)),
        ("height", request.height, settings.max_side_px, ("height",)),
        ("num_inference_steps", steps, settings.max_steps, OVERRIDES),
        ("num_images", num_images, settings.max_images, ("seeds",)),
    ):
        if value is not None and value > limit:
            given = next((name for name in fields if getattr(request, name) is not None), field)
            raise InvalidRequest(f"{field} is {value}, the limit is {limit}", field=given)


def _check_loras(request: JobRequest, steps: int) -> None:
    names = [lora.name for lora in request.loras]
    _check_once(names)
    replay = request.lora_loading.steps
    if replay is None:
        return
    if set(replay) != set(names):
        detail = f"must name exactly the job's LoRAs: {listed(names) or 'none'}"
        raise InvalidRequest(detail, field="lora_loading.steps")
    for name, step in replay.items():
        if step > 2 * steps:  # some schedulers walk twice num_inference_steps timesteps
            detail = f"step {step} lies behind the job's {steps} inference steps"
            raise InvalidRequest(detail, field=f"lora_loading.steps.{name}")


def _check_once(names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InvalidRequest(f"LoRA {name!r} is named twice", field=f"loras.{i}.name")


def _store_controls(
    controlnets: Sequence[ControlNetRequest], services: Services, warn: Warn
) -> list[ControlNetSpec]:
    max_px = services.settings.max_control_px
    pngs = [
        take_control_image(
            services.images,
            controlnet.image,
            max_px=max_px,
            field=f"controlnets.{i}.image",
            warn=warn,
            offload=services.offload,
        )
        for i, controlnet in enumerate(controlnets)
    ]
    return [
        ControlNetSpec(
            **fields_of(ControlNetOptions, controlnet), image=store_control_image(services.images, png)
        )
        for controlnet, png in zip(controlnets, pngs, strict=True)
    ]
