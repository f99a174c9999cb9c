"""What REST answers about jobs and LoRAs: the models behind its JSON, and behind the OpenAPI document."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args

from flask import Response
from pydantic import BaseModel, Field

from api.links import link
from shared.catalog.preprocessors import NONE
from shared.jobs.receipt import Receipt
from shared.jobs.record import Failure, Job, Span, Status
from shared.jobs.spec import JobSpec
from shared.storage.lora_base_model import Family
from shared.storage.lora_header import LoraInfo
from shared.storage.loras import ListedLora
from shared.storage.object_store import ObjectStat


def answer(
    body: BaseModel,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    exclude: Mapping[str, Any] | None = None,
) -> Response:
    """A model as a JSON response; ``exclude`` is pydantic's."""
    text = body.model_dump_json(exclude=dict(exclude) if exclude else None)
    return Response(text, status, headers, mimetype="application/json")


# --- jobs ----------------------------------------------------------------------------------------


class Links(BaseModel):
    """Where to look next."""

    self: str
    events: str
    images: str

    @classmethod
    def of(cls, job_id: str) -> Self:
        """The links of a job."""
        home = link(f"/v1/jobs/{job_id}")
        return cls(self=home, events=f"{home}/events", images=f"{home}/images")


class AcceptedResponse(BaseModel):
    """A job that was accepted."""

    id: str
    status: Status
    seed: int = Field(description="of the first picture")
    seeds: list[int] = Field(description="of each picture")
    links: Links
    warnings: list[str] = Field(description="what will be generated otherwise than one may expect")

    @classmethod
    def of(cls, job_id: str, status: Status, spec: JobSpec, warnings: Sequence[str]) -> Self:
        """The answer to a submission."""
        return cls(
            id=job_id,
            status=status,
            seed=spec.seed,
            seeds=spec.image_seeds,
            links=Links.of(job_id),
            warnings=list(warnings),
        )


class Progress(BaseModel):
    """Steps done, of all; 0 of 0 until a worker has begun."""

    step: int
    total: int


class ImageResponse(BaseModel):
    """One finished picture."""

    url: str
    seed: int
    width: int
    height: int
    sha256: str


class ControlNetResponse(BaseModel):
    """A ControlNet of the job: the image that came with it, and the map that it was shown."""

    name: str
    preprocessor: str
    image_url: str
    map_url: str | None = Field(description="null until a preprocessor has made it")


class ImageList(BaseModel):
    """The pictures of a job; none until it has succeeded."""

    images: list[ImageResponse]


class SpanResponse(BaseModel):
    """A stretch of the job's time, in seconds since ``created_at``."""

    name: str
    start_s: float
    end_s: float
    worker: str
    counts: dict[str, int] = Field(
        description="what a LoRA's load has moved: bytes from S3, other LoRAs out of cache and memory",
        examples=[{"fetched_bytes": 3_224_408, "disk_evictions": 1}],
    )


class JobResponse(BaseModel):
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
    images: list[ImageResponse]
    controlnets: list[ControlNetResponse]
    receipt: Receipt | None
    timeline: list[SpanResponse]
    error: Failure | None
    warnings: list[str] = Field(description="what was drawn otherwise than one may expect")
    request: JobSpec = Field(description="what was asked for, with every default filled in")

    @classmethod
    def of(cls, job: Job, queue_position: int | None) -> Self:
        """The answer for a stored job."""
        return cls(**{name: _VALUES[name](job, queue_position) for name in cls.model_fields})


#: Characters of a prompt in a list.
PROMPT_CHARS = 100
#: What a list may tell of a job; the first ones are told unless `fields` names others.
JobField = Literal[
    "id",
    "status",
    "created_at",
    "started_at",
    "finished_at",
    "queue_position",
    "progress",
    "model",
    "prompt",
    "images",
    "error",
    "links",
    "warnings",
    "controlnets",
    "receipt",
    "timeline",
    "request",
]
SUMMARY: tuple[JobField, ...] = get_args(JobField)[:12]
#: What the job store holds of a field of a list, where it is not called the same.
_STORED: dict[str, tuple[str, ...]] = {
    "progress": ("step", "total"),
    "controlnets": ("receipt",),
}


class JobSummary(BaseModel):
    """A job of a list: the fields that the query names, `id` and `status` always."""

    id: str
    status: Status
    created_at: datetime | None = None
    started_at: datetime | None = Field(None, description="of the last attempt")
    finished_at: datetime | None = None
    queue_position: int | None = Field(None, description="null unless queued")
    progress: Progress | None = None
    model: str | None = None
    prompt: str | None = Field(None, description=f"its first {PROMPT_CHARS} characters")
    images: list[ImageResponse] | None = None
    error: Failure | None = None
    links: Links | None = None
    warnings: list[str] | None = Field(None, description="only if `fields` names it, as what follows")
    controlnets: list[ControlNetResponse] | None = None
    receipt: Receipt | None = None
    timeline: list[SpanResponse] | None = None
    request: JobSpec | None = None

    @classmethod
    def of(cls, job: Job, queue_position: int | None, fields: Collection[JobField]) -> Self:
        """What ``fields`` name of a stored job; others stay ``None``."""
        named = {"id", "status", *fields}
        return cls(**{name: value(job, queue_position) for name, value in _VALUES.items() if name in named})


class JobPage(BaseModel):
    """Jobs, newest first; ``next_cursor`` asks for the page after this one."""

    jobs: list[JobSummary]
    next_cursor: str | None


def unlisted_fields(fields: Collection[JobField]) -> Mapping[str, Any]:
    """What is left out of a `JobPage` when its jobs tell ``fields``, as pydantic's ``exclude``."""
    return {"jobs": {"__all__": JobSummary.model_fields.keys() - {"id", "status", *fields}}}


def stored_fields(fields: Collection[JobField]) -> set[str]:
    """The fields of `shared.jobs.store.Job` that these fields of a list are made of."""
    return {stored for name in fields for stored in _STORED.get(name, (name,)) if stored in Job.model_fields}


def images_of(job: Job) -> list[ImageResponse]:
    """The pictures of a job, by their URLs."""
    return [
        ImageResponse(
            url=link(f"/v1/jobs/{job.id}/images/{n}"),
            seed=picture.seed,
            width=picture.width,
            height=picture.height,
            sha256=picture.sha256,
        )
        for n, picture in enumerate(job.images)
    ]


def _controls_of(job: Job) -> list[ControlNetResponse]:
    home = link(f"/v1/jobs/{job.id}/controlnets")
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
    """sha256 of what ControlNet ``n`` of the job was shown, once that is known."""
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
    )


#: Each field that is told of a job, from the stored job and its position in the queue.
_VALUES: dict[str, Callable[[Job, int | None], Any]] = {
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
    "controlnets": lambda job, _: _controls_of(job),
    "receipt": lambda job, _: job.receipt,
    "timeline": lambda job, _: [_since(job.created_at, span) for span in job.timeline],
    "request": lambda job, _: job.spec,
}


# --- LoRAs ---------------------------------------------------------------------------------------


class LoraResponse(BaseModel):
    """A LoRA of the bucket."""

    name: str
    size_bytes: int
    etag: str
    modified: datetime
    problem: str | None = Field(None, description="why this object cannot be used as a LoRA")

    @classmethod
    def listed(cls, lora: ListedLora) -> "LoraResponse":
        """The answer for an object of the bucket."""
        name, blob, problem = lora
        return LoraResponse(
            name=name, size_bytes=blob.size_bytes, etag=blob.etag, modified=blob.modified, problem=problem
        )


class LoraPage(BaseModel):
    """LoRAs by name; ``next_cursor`` asks for the page after this one."""

    loras: list[LoraResponse]
    next_cursor: str | None


class LoraDetail(LoraResponse):
    """A LoRA and what its header tells."""

    tensors: int | None = None
    rank: int | None = Field(None, description="the largest of its modules")
    parts: list[str] = Field([], examples=[["unet"]])
    family: Family | None = Field(None, description="of the base it was trained for, where that is told")
    cross_attention_dim: int | None = None
    embeddings: list[str] = Field([], description="in its file, and not applied", examples=[["style"]])
    max_async_steps: int | None = Field(None, description="its own bound, for every job that names none")
    sha256: str | None = Field(None, description="of its bytes; known of files that came through the API")

    @classmethod
    def of(
        cls,
        name: str,
        blob: ObjectStat,
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
