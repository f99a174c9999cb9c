"""Translates a generation call of A1111 into the submission of a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from api.compat.a1111.errors import note_units
from api.compat.a1111.generation.controlnet_units import read_units
from api.compat.a1111.generation.family_fields import (
    guidance_fields,
    guidance_warnings,
    prompt_fields,
    strength_field,
)
from api.compat.a1111.generation.fields import Img2ImgFields, Txt2ImgFields, known_fields
from api.compat.a1111.generation.images.init_image import InitImage, SizeLimits, read_init_image
from api.compat.a1111.generation.images.resizing import Size
from api.compat.a1111.generation.settings import read_settings
from api.compat.a1111.generation.sizes import size_of
from api.compat.a1111.generation.unit_controlnets import JobImages, unit_fields
from api.compat.a1111.generation.unsupported import check_fields, check_settings
from api.compat.a1111.samplers import find_scheduler, is_chosen
from api.schemas.submission import Submission
from api.services import Services
from api.submission.images.image_work import work_on_images
from shared.catalog.schedulers import SCHEDULERS
from shared.errors import InvalidRequest

#: Schedulers that add noise in each step: A1111 lets ``eta`` scale it, and 1 is all of it.
_NOISY = ("euler_a", "dpm2_a", "dpmpp_sde", "dpmpp_2m_sde")
_ALL_NOISE = 1.0


@dataclass(frozen=True)
class GenerationCall:
    """A call, translated: the job it asks for, its body and fields, and what was ignored."""

    submission: Submission
    body: Mapping[str, Any]
    fields: Txt2ImgFields
    warnings: list[str]


def translate_txt2img(
    body: Mapping[str, Any], sticky: Mapping[str, Any], services: Services
) -> GenerationCall:
    """The job that a ``txt2img`` call asks for; ``sticky`` are settings that were made before it.

    Raises pydantic's `ValidationError`, `InvalidRequest` for a field that nothing here can do, and `NotFound`
    for a name that is not known.
    """
    fields = Txt2ImgFields.model_validate(known_fields(body))
    return _translate(body, fields, sticky, services)


def translate_img2img(
    body: Mapping[str, Any], sticky: Mapping[str, Any], services: Services
) -> GenerationCall:
    """The job that an ``img2img`` call asks for, as `translate_txt2img`; also raises `InvalidImage`."""
    fields = Img2ImgFields.model_validate(known_fields(body))
    return _translate(body, fields, sticky, services)


def _translate(
    body: Mapping[str, Any], fields: Txt2ImgFields, sticky: Mapping[str, Any], services: Services
) -> GenerationCall:
    warnings = check_fields(known_fields(body), fields)
    units = read_units(fields.alwayson_scripts)
    job, more = _job_fields(fields, sticky, services, has_controlnets=bool(units.units))
    note_units([place for place, _ in units.units])
    init: InitImage | None = None
    if isinstance(fields, Img2ImgFields):
        img2img = fields
        limits = SizeLimits.of(job["model"], services)
        read = partial(read_init_image, img2img, limits)
        init = work_on_images(read, services)
        facts = services.families.facts(job["model"])
        job |= init.job_fields | strength_field(img2img, facts, has_controlnets=bool(units.units))
    if units.units:
        size = _size(fields, job["model"], services) if init is None else init.image.size
        images = JobImages(size, init, services.settings.max_control_px)
        job |= work_on_images(lambda: unit_fields(units, services, images), services)
    submission = Submission.model_validate(job)
    return GenerationCall(submission, body, fields, [*warnings, *more, *units.warnings])


def _job_fields(
    fields: Txt2ImgFields, sticky: Mapping[str, Any], services: Services, *, has_controlnets: bool
) -> tuple[dict[str, Any], list[str]]:
    """Fields of a job that both calls have, and warnings."""
    check_settings(fields.override_settings)
    settings, warnings = read_settings(sticky, fields.override_settings)
    job = settings.job_fields(services.catalog)
    facts, model = services.families.facts(job["model"]), services.catalog.models[job["model"]]
    job |= {
        **prompt_fields(fields, facts),
        **guidance_fields(fields, facts, model.guidance_scale, has_controlnets=has_controlnets),
        "width": fields.width,
        "height": fields.height,
        "num_inference_steps": fields.steps,
        "seed": fields.seed if fields.seed >= 0 else None,
        "num_images": fields.batch_size * fields.n_iter,
    }
    names = fields.sampler_name, fields.sampler_index, fields.scheduler
    scheduler_config = services.families.scheduler_config(job["model"])
    job["scheduler"] = find_scheduler(*names, facts, scheduler_config) if is_chosen(*names) else None
    job |= _eta(fields, job["scheduler"] or model.scheduler)
    warnings = [*warnings, *guidance_warnings(fields, facts, has_controlnets=has_controlnets)]
    return {name: value for name, value in job.items() if value is not None}, warnings


def _eta(fields: Txt2ImgFields, scheduler: str) -> dict[str, float]:
    """``eta`` where the scheduler takes it; clients send 1 with every sampler."""
    if fields.eta is None:
        return {}
    if "eta" in SCHEDULERS[scheduler].takes:
        return {"eta": fields.eta}
    if scheduler.startswith(_NOISY) and fields.eta != _ALL_NOISE:
        sampler = fields.sampler_name or fields.sampler_index or scheduler
        raise InvalidRequest(f"sampler {sampler!r} has no eta but 1", field="eta")
    return {}


def _size(fields: Txt2ImgFields, model: str, services: Services) -> Size | None:
    """Of a job without an image; ``None``: unknown, or refused where sizes are."""
    size, limit = size_of(fields.width, fields.height, model, services), services.settings.max_side_px
    return size if size is not None and all(0 < side <= limit for side in size) else None
