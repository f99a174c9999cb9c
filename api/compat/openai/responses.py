"""What OpenAI's image calls answer."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response, request
from pydantic import BaseModel

from api.compat.image_json import image_json, stored_files
from api.compat.openai.fields import ImageOptions
from api.schemas.job_responses import images_of
from shared.jobs.record import Job
from shared.storage.object_store import Bucket


class TokenDetails(BaseModel):
    """Nothing here is counted in tokens; clients read these fields."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """The same."""

    input_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()
    output_tokens: int = 0
    output_tokens_details: TokenDetails = TokenDetails()
    total_tokens: int = 0


class ImageItem(BaseModel):
    """One image: its file, or where it is."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str  # the one that was given: none is revised
    seed: int


class ImagesResponse(BaseModel):
    """The images of a call; the last three fields are ours."""

    created: int
    data: list[ImageItem]
    output_format: str
    quality: str = "high"  # one of those that clients know; there are no others here
    size: str
    background: str = "opaque"
    usage: Usage = Usage()
    id: str  # of the job
    model: str
    warnings: list[str]


def images_response(job: Job, options: ImageOptions, bucket: Bucket, warnings: Sequence[str]) -> Response:
    """The answer with the images of a job that has succeeded."""
    if options.response_format == "url":
        host = request.host_url.rstrip("/")
        places: list[dict[str, Any]] = [{"url": host + image.url} for image in images_of(job)]
        return image_json([], lambda _: _body(job, places, warnings))
    files = stored_files(bucket, [image.key for image in job.images])
    return image_json(files, lambda texts: _body(job, [{"b64_json": text} for text in texts], warnings))


def _body(job: Job, places: Sequence[Mapping[str, Any]], warnings: Sequence[str]) -> ImagesResponse:
    """``places``: where each image is, or its file."""
    return ImagesResponse(
        created=int(job.finished_at or time.time()),
        data=[
            ImageItem(**place, revised_prompt=job.spec.prompt, seed=image.seed)
            for place, image in zip(places, job.images, strict=True)
        ],
        output_format=job.spec.output_format,
        size=f"{job.images[0].width}x{job.images[0].height}",
        id=job.id,
        model=job.spec.model,
        warnings=[*warnings, *job.warnings],
    )
