"""A job as it stands: its record is one Redis hash, which `lua/job.lua` and the job store write."""

import json
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, Field, model_validator

from shared.errors import JobUnreadable, NotFound, SwiftError
from shared.jobs.receipt import Receipt
from shared.jobs.record_upgrade import upgrade
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from shared.message_base import Finite, Message, first_reason, read_stored
from shared.tenants.tenant import Priority

#: Goes up when an older worker would generate something else from a record than it says.
#: Records of earlier versions are converted when they are read: `shared.jobs.record_upgrade`.
RECORD_VERSION = 2

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
#: Seconds since the epoch, as far as years have four digits.
Time = Annotated[float, Field(ge=0, lt=253_402_300_800)]


class StoredImage(Message):
    """One finished image; the file is in the image bucket under ``key``."""

    key: str
    seed: int
    width: int
    height: int
    sha256: str


class Span(Message):
    """A part of a job's time, in seconds since the epoch; ``worker`` is who spent it."""

    name: str
    start_s: float
    end_s: float
    worker: str
    counts: dict[str, int] = Field({})  # what was moved in it, by what it counts
    residual: int | None = None  # of a wait for one: its place in the order in which they are needed, from 0


class Failure(Message):
    """Why a job failed: a code to match on and a sentence to read."""

    code: str
    detail: str

    @classmethod
    def of(cls, error: SwiftError) -> Self:
        """What a job's record says of an error that ended it."""
        return cls(code=error.code, detail=str(error) or repr(error))


class JobEstimate(Message):
    """When a job will be done that is accepted now."""

    device_seconds: Finite = Field(description="for so long it will use a device; half of the jobs no longer")
    queue_position: int = Field(
        description="your queued jobs of all models up to this one, by age; not the order in which they begin"
    )
    eta_s: Finite | None = Field(
        description="half of the jobs are done within so many seconds; null while no worker serves the model"
    )
    eta_p90_s: Finite | None = Field(description="nine of ten jobs are done within so many seconds")


class JobScheduling(NamedTuple):
    """How a job is scheduled; nothing of it changes its images."""

    priority: Priority = "normal"
    cost_s: float = 1.0  # device-seconds, estimated
    deadline_s: float | None = None  # after it was accepted; None: it has all the time
    eta_s: float | None = None  # how long it was estimated to take in all
    eta_kind: str = ""  # estimates of a kind err alike
    estimate: JobEstimate | None = None  # what the client was told

    def fields(self) -> dict[str, Any]:
        """Fields of the job's record."""
        found: dict[str, Any] = {"priority": self.priority, "cost_s": f"{self.cost_s:.6g}"}
        if self.deadline_s is not None:
            found["deadline_s"] = f"{self.deadline_s:.6g}"
        if self.eta_s is not None:
            found |= {"eta_s": f"{self.eta_s:.6g}", "eta_kind": self.eta_kind}
        if self.estimate is not None:
            found["estimate"] = self.estimate.model_dump_json()
        return found


class Job(BaseModel):
    """A job as it stands; times are seconds since the epoch."""

    id: str
    tenant: str = LOCAL  # whose it is; records of 0.1 do not say it
    version: int = 1  # of the stored record; a newer one is shown as far as it is understood
    status: Status
    spec: JobSpec
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    step: int = 0  # as far as any attempt has come
    total: int = 0
    attempts: int = 0
    infrastructure_losses: int = 0  # attempts that a server or a stopped worker has cost
    hand_overs: int = 0  # attempts that ended early because their worker was told to stop
    worker: str | None = None
    images: list[StoredImage] = []
    receipt: Receipt | None = None
    timeline: list[Span] = []
    earlier_attempts: list[Span] = []  # of a job that was lost or handed over: when each began and ended
    error: Failure | None = None
    replays: Receipt | None = None  # the receipt whose images are generated again
    warnings: list[str] = []  # what differs from what a client may expect
    priority: str = "normal"
    deadline_s: Finite | None = None  # after `created_at`
    estimate: JobEstimate | None = None  # what its submission was answered
    eta_s: Finite | None = None  # the same before it was corrected by how long earlier jobs took
    eta_kind: str = ""
    webhook: str = ""  # its own, as JSON, which `shared.webhooks` reads; "": none

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.receipt is not None and len(self.receipt.controlnets) != len(self.spec.controlnets):
            raise ValueError("its receipt has other ControlNets than its spec")
        return self


#: Fields of every record.
REQUIRED = frozenset({"version", *(name for name, field in Job.model_fields.items() if field.is_required())})
#: Those that are JSON.
_JSON = (
    *("spec", "images", "receipt", "timeline", "earlier_attempts"),
    *("error", "replays", "warnings", "estimate"),
)


def parse_record(job_id: str, fields: dict[str, str] | Exception) -> Job:
    """The job of a record as Redis answers it; raises `NotFound`, `JobUnreadable`, and Redis' own errors."""
    if not isinstance(fields, dict):
        raise _record_error(job_id, fields)
    if not fields:
        raise no_job(job_id)
    values: dict[str, Any] = {name: fields[name] for name in Job.model_fields if name in fields}
    values["id"] = job_id
    try:
        values |= {name: json.loads(values[name]) for name in _JSON if name in values}
        return read_stored(Job, upgrade(values))
    except (ValueError, RecursionError) as error:
        raise _unreadable(job_id, error) from None


def no_job(job_id: str) -> NotFound:
    """The same words for a job that does not exist and for another tenant's."""
    return NotFound(f"there is no job {job_id!r}")


def _record_error(job_id: str, error: Exception) -> Exception:
    """A key of another type is this job's damage; all else, as a full disk, is Redis' own error."""
    return _unreadable(job_id, error) if str(error).startswith("WRONGTYPE") else error


def _unreadable(job_id: str, error: Exception) -> JobUnreadable:
    reason = first_reason(error)
    return JobUnreadable(f"the record of job {job_id!r} cannot be read: {reason}; it can be deleted")
