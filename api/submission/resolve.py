"""Second stage: which files the request names in S3, and what its images are. Nothing is stored yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.schemas.job_request import JobRequest
from api.services import Services
from api.submission.checks.size import largest_side_px
from api.submission.images.input_images import read_input_images
from api.submission.images.reader import ImageReader
from api.submission.lora_refs import find_ref
from api.submission.source import Source
from api.submission.unread_fields import warn_of_unread
from api.submission.validate import ValidRequest
from shared.catalog.entries import ControlNetEntry
from shared.jobs.families.controlnet_masks import check_inpainted_images
from shared.jobs.families.controlnet_sides import check_controlnet_sides
from shared.jobs.options import ControlNetOptions, fields_of
from shared.jobs.spec import ControlNetSpec, JobSpec


@dataclass(frozen=True)
class ResolvedJob:
    """A job, the PNGs of its images by their sha256, and what a client may not expect of it."""

    spec: JobSpec
    images: Mapping[str, bytes]
    warnings: Sequence[str]


def resolve(valid: ValidRequest, source: Source, services: Services, tenant: str) -> ResolvedJob:
    """The job that a valid request describes; S3 is asked for LoRAs first, which is cheaper than images.

    Names mean what the tenant sees.
    Raises `InvalidRequest` for the field at fault, and `ReceiptMismatch` for a LoRA that is known to differ
    from the one of the receipt.
    """
    request, draft, lora_fields = valid
    receipt = source.receipt
    wanted = {lora.name: lora.sha256 for lora in receipt.loras} if receipt else {}
    loras = [
        find_ref(lora, draft.model, services, tenant, field=field, wanted_sha256=wanted.get(lora.name))
        for field, lora in zip(lora_fields, request.loras, strict=True)
    ]
    reader = ImageReader(services, tenant)
    known: dict[str, Any] = {}
    if request.image is not None:
        multiple = services.families.image_multiple(draft.model)
        limit = largest_side_px(request, services, draft.model)
        known |= read_input_images(request, reader, size_multiple=multiple, limit_px=limit)._asdict()
    if receipt is not None:  # no request has these in this meaning
        known["latent_parallelism"] = receipt.spec.latent_parallelism
        known["split_steps"] = receipt.spec.split_steps
    controlnets = _read_controlnets(request, source, reader, known.get("image"), services.catalog.controlnets)
    spec = draft.model_copy(update={**known, "controlnets": controlnets, "loras": loras})
    traits = [services.families.controlnet(one.name) for one in controlnets]
    check_inpainted_images(spec, traits)
    own = services.families.usual_size(draft.model) or (0, 0)
    check_controlnet_sides(spec, traits, (spec.width or own[0], spec.height or own[1]))
    unread = [] if receipt else warn_of_unread(request, services, draft.model)
    return ResolvedJob(spec, reader.pngs, [*reader.warnings, *unread])


def _read_controlnets(
    request: JobRequest,
    source: Source,
    reader: ImageReader,
    image_of_job: str | None,
    entries: Mapping[str, ControlNetEntry],
) -> list[ControlNetSpec]:
    """Control images as they were sent, or the job's. Control maps come from a receipt: a preprocessor of
    another version could make others.
    """
    specs = []
    for i, controlnet in enumerate(request.controlnets):
        if controlnet.image is None:
            assert image_of_job is not None, "it was checked"
            image = image_of_job
        else:
            image = reader.read(controlnet.image, field=f"controlnets.{i}.image").sha256
        control_map = source.receipt.spec.controlnets[i].control_map if source.receipt else None
        if control_map not in (None, image):
            reader.read_stored(control_map, field=f"controlnets.{i}.{source.map_field}")
        ranges = source.receipt.spec.controlnets[i] if source.receipt else entries[controlnet.name]
        specs.append(
            ControlNetSpec(
                **fields_of(ControlNetOptions, controlnet),
                image=image,
                control_map=control_map,
                control_range=ranges.control_range,
            )
        )
    return specs
