"""What REST answers about jobs and LoRAs: the models behind its JSON, and behind the OpenAPI document."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Self

from flask import Response
from pydantic import BaseModel, Field

from shared.blobs import Blob
from shared.jobs import Job
from shared.lora_inspection import Family, LoraInfo
from shared.preprocessors import NONE
from shared.receipts import Receipt
from shared.specs import Failure, JobSpec, Span, Status


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A model as a JSON response."""
    return Response(body.model_dump_json(), status, headers, mimetype="application/json")


# --- jobs ----------------------------------------------------------------------------------------


class Links(BaseModel):
    """Where to look next."""

    self: str
    events: str
    images: str


class Accepted(BaseModel):
    """A job that was accepted."""

    id: str
    status: Status
    seed: int = Field(description="of the first picture")
    seeds: list[int] = Field(description="of each picture")
    links: Links

    @classmethod
    def of(cls, job_id: str, status: Status, spec: JobSpec) -> Self:
        """The answer to a submission."""
        home = f"/v1/jobs/{job_id}"
        links = Links(self=home, events=f"{home}/events", images=f"{home}/images")
        return cls(id=job_id, status=status, seed=spec.seed, seeds=spec.picture_seeds, links=links)


class Progress(BaseModel):
    """Steps done, of all; 0 of 0 until a worker has begun."""

    step: int
    total: int


class ImageAnswer(BaseModel):
    """One finished picture."""

    url: str
    seed: int
    width: int
    height: int
    sha256: str


class ControlAnswer(BaseModel):
    """A net of the job: the image that came with it, and the map that it was shown."""

    name: str
    preprocessor: str
    image_url: str
    map_url: str | None = Field(description="null until a preprocessor has made it")


class ImageList(BaseModel):
    """The pictures of a job; none until it has succeeded."""

    images: list[ImageAnswer]


class SpanAnswer(BaseModel):
    """A stretch of the job's time, in seconds since ``created_at``."""

    name: str
    start_s: float
    end_s: float
    worker: str
    counts: dict[str, int] = Field(
        description="what a LoRA's load has moved: bytes from S3, other LoRAs out of cache and memory",
        examples=[{"fetched_bytes": 3_224_408, "disk_evictions": 1}],
    )


class JobAnswer(BaseModel):
    """A job as it stands."""

    id: str
    status: Status
    created_at: datetime
    started_at: datetime | None = Field(description="of the last attempt")
    finished_at: datetime | None
    queue_position: int | None = Field(
        description="queued jobs of all models up to this one, by age; null unless queued"
    )
    progress: Progress
    images: list[ImageAnswer]
    controlnets: list[ControlAnswer]
    receipt: Receipt | None
    timeline: list[SpanAnswer]
    error: Failure | None
    warnings: list[str] = Field(description="what was drawn otherwise than one may expect")
    request: JobSpec = Field(description="what was asked for, with every default filled in")

    @classmethod
    def of(cls, job: Job, queue_position: int | None) -> Self:
        """The answer for a stored job."""
        return cls(
            id=job.id,
            status=job.status,
            created_at=_time(job.created_at),
            started_at=_time(job.started_at) if job.started_at else None,
            finished_at=_time(job.finished_at) if job.finished_at else None,
            queue_position=queue_position,
            progress=Progress(step=job.step, total=job.total),
            images=images_of(job),
            controlnets=_controls_of(job),
            receipt=job.receipt,
            timeline=[_since(job.created_at, span) for span in job.timeline],
            error=job.error,
            warnings=job.warnings,
            request=job.spec,
        )


class JobPage(BaseModel):
    """Jobs, newest first; ``next_cursor`` asks for the page after this one."""

    jobs: list[JobAnswer]
    next_cursor: str | None


def images_of(job: Job) -> list[ImageAnswer]:
    """The pictures of a job, by their URLs."""
    return [
        ImageAnswer(
            url=f"/v1/jobs/{job.id}/images/{n}",
            seed=picture.seed,
            width=picture.width,
            height=picture.height,
            sha256=picture.sha256,
        )
        for n, picture in enumerate(job.images)
    ]


def _controls_of(job: Job) -> list[ControlAnswer]:
    home = f"/v1/jobs/{job.id}/controlnets"
    return [
        ControlAnswer(
            name=net.name,
            preprocessor=net.preprocessor,
            image_url=f"{home}/{n}/image",
            map_url=f"{home}/{n}/map" if map_of(job, n) else None,
        )
        for n, net in enumerate(job.spec.controlnets)
    ]


def map_of(job: Job, n: int) -> str | None:
    """sha256 of what net ``n`` of the job was shown, once that is known."""
    if job.receipt is not None:
        return job.receipt.controlnets[n].map
    net = job.spec.controlnets[n]
    return net.map or (net.image if net.preprocessor == NONE else None)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _since(start: float, span: Span) -> SpanAnswer:
    return SpanAnswer(
        name=span.name,
        start_s=round(span.start_s - start, 4),
        end_s=round(span.end_s - start, 4),
        worker=span.worker,
        counts=span.counts,
    )


# --- LoRAs ---------------------------------------------------------------------------------------


class LoraAnswer(BaseModel):
    """A LoRA of the bucket."""

    name: str
    size_bytes: int
    etag: str
    modified: datetime


class LoraPage(BaseModel):
    """LoRAs by name; ``next_cursor`` asks for the page after this one."""

    loras: list[LoraAnswer]
    next_cursor: str | None


class LoraDetail(LoraAnswer):
    """A LoRA and what its header tells; ``problem`` says why a file of the bucket is none."""

    tensors: int | None = None
    rank: int | None = Field(None, description="the largest of its modules")
    parts: list[str] = Field([], examples=[["unet"]])
    family: Family | None = Field(None, description="of the base it was trained for, where that is told")
    cross_attention_dim: int | None = None
    max_async_steps: int | None = Field(None, description="its own bound, for every job that names none")
    sha256: str | None = Field(None, description="of its bytes; known of files that came through the API")
    problem: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        blob: Blob,
        info: LoraInfo | None = None,
        bound: int | None = None,
        problem: str | None = None,
    ) -> Self:
        """The answer for an object and what is known of it."""
        return cls(
            name=name,
            size_bytes=blob.size_bytes,
            etag=blob.etag,
            modified=blob.modified,
            max_async_steps=bound,
            sha256=blob.metadata.get("sha256"),
            problem=problem,
            **(info.model_dump() if info else {}),
        )
