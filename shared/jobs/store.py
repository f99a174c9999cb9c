"""The job store: one Redis hash per job, which the web reads and changes and workers claim."""

import json
import logging
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator
from redis.exceptions import ResponseError

from shared import keys
from shared.errors import (
    AttemptsExhausted,
    Conflict,
    InvalidSetting,
    JobUnreadable,
    NotFound,
    SwiftError,
    Unavailable,
)
from shared.jobs.attempt import Attempt
from shared.jobs.cursors import make_cursor, read_cursor
from shared.jobs.durability import Durability
from shared.jobs.job_script import JobScript
from shared.jobs.receipt import Receipt
from shared.jobs.spec import Failure, JobSpec, Span, Status, StoredImage
from shared.message_base import first_reason, read_stored
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

#: Of a job's record. Goes up when an older worker would generate something else from it than it says.
RECORD_VERSION = 1
#: Seconds since the epoch, as far as years have four digits.
Time = Annotated[float, Field(ge=0, lt=253_402_300_800)]


class Job(BaseModel):
    """A job as it stands; times are seconds since the epoch."""

    id: str
    version: int = 1  # of the record; one of a newer version is shown as far as this one understands it
    status: Status
    spec: JobSpec
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    step: int = 0
    total: int = 0
    attempts: int = 0
    infrastructure_losses: int = 0  # attempts that a server or a stopped worker has cost
    worker: str | None = None
    images: list[StoredImage] = []
    receipt: Receipt | None = None
    timeline: list[Span] = []
    error: Failure | None = None
    replays: Receipt | None = None  # the pictures of this receipt are drawn again
    warnings: list[str] = []  # what was drawn otherwise than somebody may expect

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.receipt is not None and len(self.receipt.controlnets) != len(self.spec.controlnets):
            raise ValueError("its receipt has other ControlNets than its spec")
        return self


_REQUIRED = frozenset(name for name, field in Job.model_fields.items() if field.is_required())


class JobStore:
    """Reads and changes jobs."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self.redis = redis
        self._settings = settings
        self._script = JobScript(redis, settings)
        self.durability = Durability(redis, settings)

    # --- the web -------------------------------------------------------------------------------

    def create(
        self,
        spec: JobSpec,
        *,
        replays: Receipt | None = None,
        idempotency_key: str = "",
        digest: str = "",
        warnings: Sequence[str] = (),
    ) -> tuple[str, bool]:
        """Store an accepted job, on disk where that can be; returns its id and whether it is new.

        A repeated ``idempotency_key`` returns the first job, and raises `Conflict` when the request's
        ``digest`` differs. Raises `Unavailable`, and stores nothing, when the disk does not take it.
        """
        job_id = secrets.token_hex(8)
        fields = {"id": job_id, "version": RECORD_VERSION, "spec": spec.model_dump_json()}
        if replays is not None:
            fields["replays"] = replays.model_dump_json()
        if warnings:
            fields["warnings"] = json.dumps(list(warnings))
        extra = [keys.idempotency(idempotency_key)] if idempotency_key else []
        pipe = self.redis.pipeline(transaction=False)
        self._script("create", job_id, digest, fields=fields, keys_after=extra, pipe=pipe)
        try:
            first, first_digest = self.durability.execute(pipe)
        except (Unavailable, InvalidSetting):
            self.delete(job_id)
            raise
        if first != job_id and first_digest != digest:
            raise Conflict("this Idempotency-Key was used for another request")
        return first, first == job_id

    def repeated(self, idempotency_key: str, digest: str) -> str | None:
        """The job that an earlier ``create`` made for this key; raises `Conflict` as that does.

        Asked before a request is resolved: what it named then may be gone by now.
        """
        first, first_digest = self.redis.hmget(keys.idempotency(idempotency_key), ["job", "digest"])
        if first is None or not self.redis.exists(keys.job(str(first))):
            return None
        if first_digest != digest:
            raise Conflict("this Idempotency-Key was used for another request")
        return str(first)

    def sent(self, job_id: str) -> None:
        """The job's message is in its queue."""
        self.redis.zrem(keys.UNSENT, job_id)

    def get(self, job_id: str) -> Job:
        """The job; raises `NotFound` and `JobUnreadable`."""
        _check_id(job_id)
        try:
            fields: dict[str, str] = self.redis.hgetall(keys.job(job_id))  # type: ignore[assignment]
        except ResponseError as error:
            raise _refusal(job_id, error) from None
        return _parse(job_id, fields)

    def read(
        self, job_ids: Collection[str], fields: Collection[str] = frozenset(Job.model_fields)
    ) -> dict[str, "Job | JobUnreadable | None"]:
        """Many jobs by id: as its error what cannot be read, ``None`` for what is gone.

        Of each only ``fields`` are read, as `page` does.
        """
        names = list(Job.model_fields.keys() & {*_REQUIRED, *fields})
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hmget(keys.job(job_id), names)
        found: dict[str, Job | JobUnreadable | None] = {}
        for job_id, values in zip(job_ids, pipe.execute(raise_on_error=False), strict=True):
            try:
                found[job_id] = _parse(
                    job_id, values if isinstance(values, Exception) else _told(names, values)
                )
            except JobUnreadable as error:
                found[job_id] = error
            except NotFound:
                found[job_id] = None
        return found

    def is_held(self, job_id: str, attempt: str) -> bool:
        """Whether this attempt still holds the job."""
        return bool(self.redis.get(keys.lease(job_id)) == attempt)

    def page(
        self,
        *,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
        fields: Collection[str] = frozenset(Job.model_fields),
    ) -> tuple[list[Job], str | None]:
        """A page, newest first, from after ``cursor``, and the next cursor; only the last page is not full.

        Only ``fields`` of the jobs are read, and what every job has; others keep their defaults. Records
        that cannot be read are left out; those that have expired are taken off the lists. Raises
        `InvalidRequest` for what is no cursor.
        """
        after = None if cursor is None else read_cursor(cursor)
        index = keys.by_status(status) if status else keys.JOBS
        found: list[tuple[float, Job]] = []
        expired: list[str] = []
        for score, job_id, job in self._listed(index, after, limit + 2, fields):
            if job is None:
                expired.append(job_id)
            elif isinstance(job, JobUnreadable):
                log.warning("job left out of a page", extra={"job": job_id, "error": str(job)})
            elif status in (None, job.status):
                found.append((score, job))
            if len(found) > limit:
                break
        self.heal(expired)
        jobs = [job for _, job in found[:limit]]
        return jobs, make_cursor(found[limit - 1][0], jobs[-1].id) if len(found) > limit else None

    def _listed(
        self, index: str, after: tuple[float, str] | None, at_once: int, fields: Collection[str]
    ) -> Iterator[tuple[float, str, "Job | JobUnreadable | None"]]:
        """Score, id and record of each job on a list, newest first, from ``after`` on."""
        offset = 0
        while True:
            highest: Any = "+inf" if after is None else after[0]
            members: Any = self.redis.zrevrangebyscore(
                index, highest, "-inf", start=offset, num=at_once, withscores=True
            )
            # Of equal times the higher id comes first.
            rest = [(score, one) for one, score in members if after is None or (score, one) < after]
            records = self.read([job_id for _, job_id in rest], fields)
            for score, job_id in rest:
                yield score, job_id, records[job_id]
            if len(members) < at_once:
                return
            # Many of one time: those that were skipped are skipped again.
            after, offset = (rest[-1], 0) if rest else (after, offset + len(members))

    def cancel(self, job_id: str) -> str:
        """Cancel: a queued job at once, a running one at its next step; an ended one stays as it is.

        A job whose record cannot be read is taken off every list: no worker takes it any more.
        """
        _check_id(job_id)
        answer: str = self._script("cancel", job_id)
        if answer == "gone":
            raise NotFound(f"there is no job {job_id!r}")
        return answer

    def delete(self, job_id: str) -> None:
        """Cancel a job that lives, then remove it; its images are deleted by the next sweep of a worker.

        The worker that may still run it can write nothing more. Raises `NotFound`.
        """
        _check_id(job_id)
        if self._script("delete", job_id) == "gone":
            raise NotFound(f"there is no job {job_id!r}")

    # --- a worker ------------------------------------------------------------------------------------

    def claim(self, job_id: str, worker: str) -> Attempt | None:
        """Try to take the job; ``None`` when it has ended or another worker holds it."""
        token = secrets.token_hex(8)
        tries, losses = self._settings.max_attempts, self._settings.max_infrastructure_losses
        failure = Failure(
            code=AttemptsExhausted.code,
            detail=f"{tries} attempts ended without an image (the workers died or lost their lease), "
            f"or {losses} were lost to servers that did not answer",
        )
        answer = self._script(
            "claim", job_id, token, worker, RECORD_VERSION, tries, losses, failure.model_dump_json()
        )
        if answer != "claimed":
            return None
        try:
            return Attempt(self._script, self.get(job_id), token, patience_s=self._settings.job_timeout_s)
        except JobUnreadable as error:
            log.error("job failed: its record cannot be read", extra={"job": job_id})
            ended = {"error": failure_of(error).model_dump_json()}
            self._script("finish", job_id, token, "failed", fields=ended)
            return None

    def leaves(self, worker: str) -> None:
        """Note that a worker is stopped on purpose: no job is at fault that loses its attempt by that."""
        self._script("leave", "", worker)

    # --- recovery --------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the epoch by the clock that all times of jobs are of: Redis' own."""
        seconds, microseconds = self.redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def observe(self) -> None:
        """Note that the control Redis answers. After a break no lease is called lost until it can be renewed.

        Called every few seconds, by as many processes as there are.
        """
        self._script("observe", "")

    def orphans(self, unsent_after_s: float = 10.0) -> list[str]:
        """Ids of jobs that need a message: their worker's lease ran out, or none was ever sent.

        Jobs of dead workers go back to ``queued`` here; any number of processes may call this.
        """
        self.observe()
        running: list[str] = self.redis.zrange(keys.by_status("running"), 0, -1)  # type: ignore[assignment]
        alive = self.redis.mget([keys.lease(job_id) for job_id in running]) if running else []
        silent = [job_id for job_id, lease in zip(running, alive, strict=True) if lease is None]
        reaped = [job_id for job_id in silent if self._try("reap", job_id) == "reaped"]
        late = self.now() - unsent_after_s
        unsent: list[str] = self.redis.zrangebyscore(keys.UNSENT, 0, late)  # type: ignore[assignment]
        return reaped + [job_id for job_id in unsent if job_id not in reaped]

    def fail(self, job_id: str, failure: Failure) -> None:
        """End a queued job that nothing can run."""
        self._script("fail", job_id, failure.model_dump_json())

    def heal(self, job_ids: Sequence[str]) -> None:
        """Put each job on the lists of its status and off all others; one that is gone leaves nothing."""
        if job_ids:
            pipe = self.redis.pipeline(transaction=False)
            for job_id in job_ids:
                self._script("heal", job_id, pipe=pipe)
            pipe.execute(raise_on_error=False)

    def _try(self, verb: str, job_id: str) -> str:
        """One job among many: what is wrong with it keeps no other from its turn."""
        try:
            return str(self._script(verb, job_id))
        except ResponseError as error:
            log.warning("job skipped", extra={"job": job_id, "verb": verb, "error": str(error)})
            return "unreadable"


def _check_id(job_id: str) -> None:
    """An id becomes part of a key: nothing but an id may."""
    if not re.fullmatch(r"[0-9a-f]{16}", job_id):
        raise NotFound(f"there is no job {job_id!r}")


def failure_of(error: SwiftError) -> Failure:
    """What a job's record says of an error that ended it."""
    return Failure(code=error.code, detail=str(error) or repr(error))


def _unreadable(job_id: str, error: Exception) -> JobUnreadable:
    reason = first_reason(error)
    return JobUnreadable(f"the record of job {job_id!r} cannot be read: {reason}; it can be deleted")


def _refusal(job_id: str, error: Exception) -> Exception:
    """What Redis refuses for the key's sake is this job's damage; all else, as a full disk, is Redis' own."""
    return _unreadable(job_id, error) if str(error).startswith("WRONGTYPE") else error


def _told(names: Iterable[str], values: Iterable[str | None]) -> dict[str, str]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _parse(job_id: str, fields: dict[str, str] | Exception) -> Job:
    if not isinstance(fields, dict):
        raise _refusal(job_id, fields)
    if not fields:
        raise NotFound(f"there is no job {job_id!r}")
    told: dict[str, Any] = {name: fields[name] for name in Job.model_fields if name in fields}
    told["id"] = job_id
    try:
        for name in ("spec", "images", "receipt", "timeline", "error", "replays", "warnings"):
            if name in told:
                told[name] = json.loads(told[name])
        return read_stored(Job, told)
    except (ValueError, RecursionError) as error:
        raise _unreadable(job_id, error) from None
