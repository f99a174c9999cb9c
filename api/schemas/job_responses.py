"""Responses about one job."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from api.public_urls import public_url
from shared.catalog.preprocessors import NONE
from shared.image_files.formats import format_of_name, media_type
from shared.jobs.receipt import Receipt
from shared.jobs.record import Failure, Job, JobEstimate, Span, Status
from shared.jobs.spec import JobSpec

#: Characters of a prompt in a list.
PROMPT_CHARS = 100


class Links(BaseModel):
    """URLs of a job."""

    self: str
    events: str
    images: str

    @classmethod
    def of(cls, job_id: str) -> Self:
        """The links of a job."""
        home = public_url(f"/v1/jobs/{job_id}")
        return cls(self=home, events=f"{home}/events", images=f"{home}/images")


class AcceptedResponse(BaseModel):
    """A job that was accepted."""

    id: str
    status: Status
    seed: int = Field(description="of the first image")
    seeds: list[int] = Field(description="of each image")
    links: Links
    warnings: list[str] = Field(description="what differs from what a client may expect")
    estimate: JobEstimate | None = Field(description="when the job would be done, when it was accepted")

    @classmethod
    def of(
        cls,
        job_id: str,
        status: Status,
        spec: JobSpec,
        warnings: Sequence[str],
        estimate: JobEstimate | None,
    ) -> Self:
        """The response to a submission."""
        return cls(
            id=job_id,
            status=status,
            seed=spec.seed,
            seeds=spec.image_seeds,
            links=Links.of(job_id),
            warnings=list(warnings),
            estimate=estimate,
        )


class Progress(BaseModel):
    """Steps done, of all; 0 of 0 until a worker has begun."""

    step: int
    total: int


class ImageResponse(BaseModel):
    """One generated image."""

    url: str
    content_type: str = Field(examples=["image/png"])
    seed: int
    width: int
    height: int
    sha256: str


class ControlNetResponse(BaseModel):
    """A ControlNet of the job, with its control image and control map."""

    name: str
    preprocessor: str
    image_url: str
    map_url: str | None = Field(description="null until a preprocessor has computed it")


class ImageList(BaseModel):
    """The images of a job; none until it has succeeded."""

    images: list[ImageResponse]


class SpanResponse(BaseModel):
    """A part of the job's time, in seconds since ``created_at``."""

    name: str
    start_s: float
    end_s: float
    worker: str
    counts: dict[str, int] = Field(
        description="of a LoRA's load: bytes fetched from S3, LoRAs evicted from cache and memory",
        examples=[{"fetched_bytes": 3_224_408, "disk_evictions": 1}],
    )
    residual: int | None = Field(
        description="of a wait for a ControlNet's residual: its place in the order in which the base model"
        " needs them, from 0; null of other spans"
    )


class JobResponse(BaseModel):
    """A job and its present state."""

    id: str
    status: Status
    created_at: datetime
    started_at: datetime | None = Field(description="of the last attempt")
    finished_at: datetime | None
    queue_position: int | None = Field(
        description="queued jobs of the tenant, of all models, up to this one, by age; null unless queued"
    )
    progress: Progress
    images: list[ImageResponse]
    controlnets: list[ControlNetResponse]
    receipt: Receipt | None
    timeline: list[SpanResponse]
    error: Failure | None
    warnings: list[str] = Field(description="what differs from what a client may expect")
    priority: str
    deadline_s: float | None = Field(description="after `created_at`")
    estimate: JobEstimate | None = Field(description="what the submission was answered")
    has_webhook: bool = Field(description="whether its submission named a `webhook`")
    request: JobSpec = Field(description="the job as it was accepted, with every default filled in")

    @classmethod
    def of(cls, job: Job, queue_position: int | None) -> Self:
        """The response for a stored job."""
        return cls(**{name: FIELD_VALUES[name](job, queue_position) for name in cls.model_fields})


def images_of(job: Job) -> list[ImageResponse]:
    """The images of a job, by their URLs."""
    return [
        ImageResponse(
            url=public_url(f"/v1/jobs/{job.id}/images/{n}"),
            content_type=media_type(format_of_name(image.key)),
            seed=image.seed,
            width=image.width,
            height=image.height,
            sha256=image.sha256,
        )
        for n, image in enumerate(job.images)
    ]


def _controls_of(job: Job) -> list[ControlNetResponse]:
    home = public_url(f"/v1/jobs/{job.id}/controlnets")
    return [
        ControlNetResponse(
            name=controlnet.name,
            preprocessor=controlnet.preprocessor,
            image_url=f"{home}/{n}/image",
            map_url=f"{home}/{n}/map" if map_of(job, n) else None,
        )
        for n, controlnet in enumerate(job.spec.controlnets)
    ]


def map_of(job: Job, n: int) -> str | None:
    """sha256 of the control map of ControlNet ``n`` of the job, once it is known."""
    if job.receipt is not None:
        return job.receipt.spec.controlnets[n].control_map
    controlnet = job.spec.controlnets[n]
    return controlnet.control_map or (controlnet.image if controlnet.preprocessor == NONE else None)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _since(start: float, span: Span) -> SpanResponse:
    return SpanResponse(
        name=span.name,
        start_s=round(span.start_s - start, 4),
        end_s=round(span.end_s - start, 4),
        worker=span.worker,
        counts=span.counts,
        residual=span.residual,
    )


#: The value of each field of a response, from the stored job and its position in the queue.
FIELD_VALUES: dict[str, Callable[[Job, int | None], Any]] = {
    "id": lambda job, _: job.id,
    "status": lambda job, _: job.status,
    "created_at": lambda job, _: _time(job.created_at),
    "started_at": lambda job, _: _time(job.started_at) if job.started_at else None,
    "finished_at": lambda job, _: _time(job.finished_at) if job.finished_at else None,
    "queue_position": lambda _, position: position,
    "progress": lambda job, _: Progress(step=job.step, total=job.total),
    "model": lambda job, _: job.spec.model,
    "prompt": lambda job, _: job.spec.prompt[:PROMPT_CHARS],
    "images": lambda job, _: images_of(job),
    "error": lambda job, _: job.error,
    "links": lambda job, _: Links.of(job.id),
    "warnings": lambda job, _: job.warnings,
    "priority": lambda job, _: job.priority,
    "deadline_s": lambda job, _: job.deadline_s,
    "estimate": lambda job, _: job.estimate,
    "controlnets": lambda job, _: _controls_of(job),
    "receipt": lambda job, _: job.receipt,
    "timeline": lambda job, _: [_since(job.created_at, span) for span in job.timeline],
    "has_webhook": lambda job, _: bool(job.webhook),
    "request": lambda job, _: job.spec,
    "tenant": lambda job, _: job.tenant,
}
