"""The job store: one Redis hash per job, which the web reads and changes and workers claim."""

import json
import re
import secrets
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shared import keys
from shared.attempts import Attempt
from shared.errors import AttemptsExhausted, Conflict, NotFound
from shared.job_script import JobScript
from shared.receipts import Receipt
from shared.settings import Settings
from shared.specs import Failure, JobSpec, Picture, Span, Status

if TYPE_CHECKING:
    from redis import Redis


class Job(BaseModel):
    """A job as it stands; times are seconds since the epoch."""

    id: str
    status: Status
    spec: JobSpec
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    step: int = 0
    total: int = 0
    attempts: int = 0
    worker: str | None = None
    images: list[Picture] = []
    receipt: Receipt | None = None
    timeline: list[Span] = []
    error: Failure | None = None
    replays: Receipt | None = None  # the pictures of this receipt are drawn again
    warnings: list[str] = []  # what was drawn otherwise than somebody may expect


_REQUIRED = frozenset(name for name, field in Job.model_fields.items() if field.is_required())


class JobStore:
    """Reads and changes jobs."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self.redis = redis
        self._settings = settings
        self._script = JobScript(redis)

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
        """Store an accepted job; returns its id and whether it is new.

        A repeated ``idempotency_key`` returns the first job, and raises `Conflict` when the request's
        ``digest`` differs.
        """
        job_id = secrets.token_hex(8)
        now = time.time()
        fields = {"id": job_id, "spec": spec.model_dump_json(), "created_at": now, "attempts": 0}
        if replays is not None:
            fields["replays"] = replays.model_dump_json()
        if warnings:
            fields["warnings"] = json.dumps(list(warnings))
        extra = [keys.idempotency(idempotency_key)] if idempotency_key else []
        first, first_digest = self._script(
            "create", job_id, self._settings.job_ttl_s, digest, fields=fields, keys_after=extra
        )
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
        """The job; raises `NotFound`."""
        _check_id(job_id)
        fields: dict[str, str] = self.redis.hgetall(keys.job(job_id))  # type: ignore[assignment]
        if not fields:
            raise NotFound(f"there is no job {job_id!r}")
        return _parse(fields)

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
        """Newest first, from after ``cursor`` (a job id); returns a page and the next cursor.

        Only ``fields`` of the jobs are read, and what every job has; others keep their defaults.
        """
        index = keys.by_status(status) if status else keys.JOBS
        start = 0
        if cursor is not None:
            rank = self.redis.zrevrank(index, cursor)
            if rank is None:
                raise NotFound(f"cursor {cursor!r} is no job of this list any more")
            start = int(rank) + 1  # type: ignore[arg-type]
        ids: list[str] = self.redis.zrevrange(index, start, start + limit)  # type: ignore[assignment]
        names = list(Job.model_fields.keys() & {*_REQUIRED, *fields})
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids[:limit]:
            pipe.hmget(keys.job(job_id), names)
        found = [dict(zip(names, values, strict=True)) for values in pipe.execute()]
        jobs = [
            _parse({name: value for name, value in row.items() if value is not None})
            for row in found
            if row["id"] is not None
        ]
        return jobs, ids[limit - 1] if len(ids) > limit else None

    def cancel(self, job_id: str) -> str:
        """Cancel: a queued job at once, a running one at its next step; an ended one stays as it is."""
        _check_id(job_id)
        answer: str = self._script("cancel", job_id, self._settings.job_ttl_s)
        if answer == "gone":
            raise NotFound(f"there is no job {job_id!r}")
        return answer

    # --- a worker ------------------------------------------------------------------------------------

    def claim(self, job_id: str, worker: str) -> Attempt | None:
        """Try to take the job; ``None`` when it has ended or another worker holds it."""
        token = secrets.token_hex(8)
        tries = self._settings.max_attempts
        failure = Failure(
            code=AttemptsExhausted.code,
            detail=f"{tries} attempts ended without a picture: the workers died or lost their lease",
        )
        answer = self._script(
            "claim",
            job_id,
            token,
            worker,
            int(self._settings.lease_s * 1000),
            tries,
            self._settings.job_ttl_s,
            failure.model_dump_json(),
        )
        if answer != "claimed":
            return None
        return Attempt(self._script, self._settings, self.get(job_id), token)

    # --- recovery --------------------------------------------------------------------------------

    def orphans(self, unsent_after_s: float = 10.0) -> list[str]:
        """Ids of jobs that need a message: their worker's lease ran out, or none was ever sent.

        Jobs of dead workers go back to ``queued`` here; any number of processes may call this.
        """
        running: list[str] = self.redis.zrange(keys.by_status("running"), 0, -1)  # type: ignore[assignment]
        alive = self.redis.mget([keys.lease(job_id) for job_id in running]) if running else []
        silent = [job_id for job_id, lease in zip(running, alive, strict=True) if lease is None]
        reaped = [job_id for job_id in silent if self._reap(job_id)]
        late = time.time() - unsent_after_s
        unsent: list[str] = self.redis.zrangebyscore(keys.UNSENT, 0, late)  # type: ignore[assignment]
        return reaped + unsent

    def forget(self, job_id: str) -> None:
        """Take a job that has expired off every list."""
        pipe = self.redis.pipeline()
        for index in (keys.UNSENT, keys.JOBS, keys.by_status("queued"), keys.by_status("running")):
            pipe.zrem(index, job_id)
        pipe.execute()

    def _reap(self, job_id: str) -> bool:
        answer = self._script("reap", job_id, self._settings.job_ttl_s)
        if answer == "gone":
            self.forget(job_id)
        return bool(answer == "reaped")


def _check_id(job_id: str) -> None:
    """An id becomes part of a key: nothing but an id may."""
    if not re.fullmatch(r"[0-9a-f]{16}", job_id):
        raise NotFound(f"there is no job {job_id!r}")


def _parse(fields: dict[str, str]) -> Job:
    told: dict[str, Any] = {name: fields[name] for name in Job.model_fields if name in fields}
    for name in ("spec", "images", "receipt", "timeline", "error", "replays", "warnings"):
        if name in told:
            told[name] = json.loads(told[name])
    return Job.model_validate(told)
