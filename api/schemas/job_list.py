"""Lists of jobs: which fields a client may ask for, and the pages that have them."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field

from api.schemas.job_responses import (
    FIELD_VALUES,
    PROMPT_CHARS,
    ControlNetResponse,
    ImageResponse,
    Links,
    Progress,
    SpanResponse,
)
from shared.jobs.receipt import Receipt
from shared.jobs.record import Failure, Job, JobEstimate, Status
from shared.jobs.spec import JobSpec

#: Fields of a job in a list; the first twelve are the default.
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
    "priority",
    "deadline_s",
    "estimate",
    "controlnets",
    "receipt",
    "timeline",
    "request",
    "tenant",
]
SUMMARY: tuple[JobField, ...] = get_args(JobField)[:12]
#: Fields of the job store that a field of a list is made of, where the names differ.
_STORED: dict[str, tuple[str, ...]] = {
    "progress": ("step", "total"),
    "controlnets": ("receipt",),
}


class JobSummary(BaseModel):
    """A job of a list: the fields that the query names, and always `id` and `status`."""

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
    warnings: list[str] | None = Field(None, description="only if `fields` names it, like the fields below")
    priority: str | None = None
    deadline_s: float | None = None
    estimate: JobEstimate | None = None
    controlnets: list[ControlNetResponse] | None = None
    receipt: Receipt | None = None
    timeline: list[SpanResponse] | None = None
    request: JobSpec | None = None
    tenant: str | None = None

    @classmethod
    def of(cls, job: Job, queue_position: int | None, fields: Collection[JobField]) -> Self:
        """The named fields of a stored job; others stay ``None``."""
        return cls(**{name: FIELD_VALUES[name](job, queue_position) for name in {"id", "status", *fields}})


class JobPage(BaseModel):
    """Jobs, newest first; ``next_cursor`` asks for the page after this one."""

    jobs: list[JobSummary]
    next_cursor: str | None


def unlisted_fields(fields: Collection[JobField]) -> Mapping[str, Any]:
    """Fields that a `JobPage` leaves out when the query names ``fields``, as pydantic's ``exclude``."""
    return {"jobs": {"__all__": JobSummary.model_fields.keys() - {"id", "status", *fields}}}


def stored_fields(fields: Collection[JobField]) -> set[str]:
    """The fields of `shared.jobs.record.Job` that these fields of a list are made of."""
    return {stored for name in fields for stored in _STORED.get(name, (name,)) if stored in Job.model_fields}
