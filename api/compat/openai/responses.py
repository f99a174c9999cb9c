"""What OpenAI's image calls answer."""

import base64
import time
from collections.abc import Sequence
from typing import Any

from flask import request
from pydantic import BaseModel

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


def images_response(
    job: Job, options: ImageOptions, bucket: Bucket, warnings: Sequence[str]
) -> ImagesResponse:
    """The answer with the images of a job that has succeeded."""
    host = request.host_url.rstrip("/")
    items = []
    for stored, listed in zip(job.images, images_of(job), strict=True):
        place: dict[str, Any] = (
            {"url": host + listed.url}
            if options.response_format == "url"
            else {"b64_json": encoded_image(job, bucket, stored.key)}
        )
        items.append(ImageItem(**place, revised_prompt=job.spec.prompt, seed=stored.seed))
    return ImagesResponse(
        created=int(job.finished_at or time.time()),
        data=items,
        output_format=job.spec.output_format,
        size=f"{job.images[0].width}x{job.images[0].height}",
        id=job.id,
        model=job.spec.model,
        warnings=[*warnings, *job.warnings],
    )


def encoded_image(job: Job, bucket: Bucket, key: str) -> str:
    """An image's file in base64."""
    return base64.b64encode(bucket.get(key)).decode()
