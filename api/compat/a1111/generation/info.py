"""What A1111's generation calls answer: images, the request, and ``info``, which is JSON in a string."""

import io
import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from flask import Response
from PIL import Image
from pydantic import BaseModel

from api.compat.a1111.generation.accepted_call import AcceptedCall
from api.compat.a1111.generation.family_fields import cfg_scale_of, told_cfg_scale
from api.compat.a1111.generation.fields import Img2ImgFields, Txt2ImgFields
from api.compat.a1111.generation.images.init_image import SizeLimits, as_is, read_init_image
from api.compat.a1111.generation.images.masks import MaskedImage
from api.compat.a1111.generation.images.png_text import text_chunk, with_chunk
from api.compat.a1111.generation.images.preview import current_image
from api.compat.a1111.generation.infotext import generation_params, infotext, model_hash, prompt_of
from api.compat.a1111.generation.sizes import size_of
from api.compat.a1111.samplers import find_sampler
from api.compat.image_json import ImageFile, file_of, image_json, stored_files
from api.services import Services
from api.submission.images.image_work import work_on_images
from shared.image_files.formats import DEFAULT_QUALITY, PNG
from shared.jobs.record import Job, StoredImage
from shared.jobs.spec import JobSpec

#: The keyword of A1111's text chunk.
PARAMETERS = "parameters"


class GenerationResponse(BaseModel):
    """The answer to ``txt2img`` and ``img2img``; ``images`` are base64, without a prefix."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


def generation_response(job: Job, call: AcceptedCall, services: Services) -> Response:
    """The answer with the images of a job that has succeeded, or of one that was interrupted.

    As there, an interrupted call is answered with what there is: here with the latest preview, if any.
    """
    fields, warnings = call.fields, [*call.warnings, *job.warnings]
    receipt = job.receipt  # of a job that was interrupted there is none
    texts = []
    if receipt is not None:
        scale = told_cfg_scale(receipt.spec, services)
        texts = [infotext(receipt, seed, scale) for seed in receipt.spec.image_seeds]
    files: list[ImageFile] = []
    if job.status == "cancelled":
        image = current_image(job, services)
        files = [] if image is None else [file_of(image)]
        warnings.append("the call was interrupted: its image is a preview")
    elif fields.send_images:
        files = _files(job, call.masked, texts, services)
    info = json.dumps(_info(job, fields, texts, warnings, services))
    return image_json(
        files, lambda images: GenerationResponse(images=images, parameters=call.echo, info=info)
    )


def _masked_image(fields: Img2ImgFields, model: str, services: Services) -> MaskedImage | None:
    """Decoded again: a call that waits keeps its images as they were sent."""
    read = partial(read_init_image, as_is(fields), SizeLimits.of(model, services))
    return work_on_images(read, services).masked


def _files(
    job: Job, mask_fields: Img2ImgFields | None, texts: Sequence[str], services: Services
) -> list[ImageFile]:
    """The images' files, each PNG with its text.

    Those whose surroundings a mask has kept have no receipt: no job generates them.
    """
    if mask_fields is None:
        files = stored_files(services.images, [image.key for image in job.images])
    else:
        masked = _masked_image(mask_fields, job.spec.model, services)
        files = [file_of(_restored_file(job, image, masked, services)) for image in job.images]
    if job.spec.output_format != PNG or job.receipt is None:
        return files
    chunks = [text_chunk(PARAMETERS, text) for text in texts]
    return [
        ImageFile(file.size_bytes + len(chunk), with_chunk(file.read, chunk), file.close)
        for file, chunk in zip(files, chunks, strict=True)
    ]


def _restored_file(job: Job, image: StoredImage, masked: MaskedImage | None, services: Services) -> bytes:
    data = services.images.get(image.key)
    return data if masked is None else work_on_images(partial(_restored, data, masked, job.spec), services)


def _restored(data: bytes, masked: MaskedImage, spec: JobSpec) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(data)) as generated:
        image = masked.restore(generated.convert("RGB"))
    quality = spec.output_quality or DEFAULT_QUALITY
    options = {"compress_level": 1} if spec.output_format == PNG else {"quality": quality}
    image.save(file, spec.output_format.upper(), **options)
    return file.getvalue()


def _info(
    job: Job, fields: Txt2ImgFields, texts: Sequence[str], warnings: list[str], services: Services
) -> dict[str, Any]:
    """All fields that A1111's clients read; the last two are ours."""
    receipt = job.receipt
    spec = job.spec if receipt is None else receipt.spec
    size = size_of(job.spec.width, job.spec.height, job.spec.model, services) or (0, 0)
    seeds = spec.image_seeds if receipt else spec.image_seeds[:1]
    count, prompt, negative = len(seeds), prompt_of(spec), spec.negative_prompt or ""
    return {
        "prompt": prompt,
        "all_prompts": [prompt] * count,
        "negative_prompt": negative,
        "all_negative_prompts": [negative] * count,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": fields.subseed,
        "all_subseeds": [fields.subseed] * count,
        "subseed_strength": 0,
        "width": spec.width or size[0],
        "height": spec.height or size[1],
        "sampler_name": find_sampler(spec.scheduler)[0],
        "cfg_scale": cfg_scale_of(spec, services.families.facts(spec.model)),
        "steps": spec.num_inference_steps,
        "batch_size": fields.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": spec.model,
        "sd_model_hash": model_hash(receipt) if receipt else "",
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": fields.seed_resize_from_w,
        "seed_resize_from_h": fields.seed_resize_from_h,
        "denoising_strength": spec.strength,
        "extra_generation_params": generation_params(receipt) if receipt else {},
        "index_of_first_image": 0,
        "infotexts": list(texts) or [""],
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.gmtime(job.created_at)),
        "clip_skip": (spec.clip_skip or 0) + 1,
        "is_using_inpainting_conditioning": False,
        "version": "",
        "job_id": job.id,
        "warnings": warnings,
    }
