"""Reads jobs from Redis: one, many by their ids, or a page of a list."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from shared import keys
from shared.errors import JobUnreadable, NotFound
from shared.jobs.cursors import make_cursor, read_cursor
from shared.jobs.job_script import JobScript
from shared.jobs.record import REQUIRED, Job, Status, no_job, parse_record
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

log = logging.getLogger(__name__)


class JobReader:
    """Reads jobs, and corrects lists that name what has expired."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self.redis = redis
        self.script = JobScript(redis, settings)

    def get(self, job_id: str, *, tenant: str | None = None, pipe: "Pipeline | None" = None) -> Job:
        """The job; raises `NotFound` and `JobUnreadable`.

        ``tenant``: who asks. Another one's job is to it as one that does not exist; ``None`` reads anybody's.
        ``pipe``: commands that are sent with it, in one round trip.
        """
        check_id(job_id)
        try:
            fields: Any = (self.redis if pipe is None else pipe).hgetall(keys.job(job_id))
            if pipe is not None:
                fields = pipe.execute(raise_on_error=False)[-1]
        except ResponseError as error:
            fields = error
        if tenant is not None and tenant != self._owner(job_id, fields):
            raise no_job(job_id)
        return parse_record(job_id, fields)

    def _owner(self, job_id: str, fields: Any) -> str:
        """Whose a record is, as Redis answers it; what it does not say itself, Redis knows."""
        if isinstance(fields, dict) and "tenant" in fields:
            return str(fields["tenant"])
        return str(self.redis.hget(keys.JOB_TENANTS, job_id) or keys.LOCAL)

    def owned(self, job_ids: Collection[str], tenant: str) -> set[str]:
        """Those of the jobs that exist and are the tenant's."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hmget(keys.job(job_id), "status", "tenant")
        records = pipe.execute(raise_on_error=False) if job_ids else []
        return {
            job_id
            for job_id, record in zip(job_ids, records, strict=True)
            if isinstance(record, list)
            and record[0] is not None
            and (keys.LOCAL if record[1] is None else record[1]) == tenant
        }

    def list_of(self, tenant: str | None, status: Status | None = None) -> str:
        """The key of the list of a tenant's jobs, by creation time; ``None``: of all jobs.

        That of `keys.LOCAL` is the one of all jobs, which may have others' in it, until the sweep has put
        every job of an earlier version on its own list.
        """
        whose = keys.JOBS if tenant is None or self._is_incomplete(tenant) else keys.jobs_of(tenant)
        return f"{whose}:{status}" if status else whose

    def _is_incomplete(self, tenant: str) -> bool:
        """Whether jobs of the tenant lack on its list; those of an earlier version are all `keys.LOCAL`'s."""
        if tenant != keys.LOCAL:
            return False
        pipe = self.redis.pipeline(transaction=False)
        pipe.zcard(keys.JOBS)
        pipe.hlen(keys.JOB_TENANTS)
        pipe.zcard(keys.jobs_of(tenant))
        everybodys, others, own = pipe.execute()
        return bool(own < everybodys - others)

    def read(
        self, job_ids: Collection[str], fields: Collection[str] = frozenset(Job.model_fields)
    ) -> dict[str, "Job | JobUnreadable | None"]:
        """Many jobs by id: as its error what cannot be read, ``None`` for what is gone.

        Of each only ``fields`` are read, as `page` does.
        """
        names = list(Job.model_fields.keys() & {*REQUIRED, "tenant", *fields})
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hmget(keys.job(job_id), names)
        found: dict[str, Job | JobUnreadable | None] = {}
        for job_id, values in zip(job_ids, pipe.execute(raise_on_error=False), strict=True):
            try:
                found[job_id] = parse_record(
                    job_id, values if isinstance(values, Exception) else _present(names, values)
                )
            except JobUnreadable as error:
                found[job_id] = error
            except NotFound:
                found[job_id] = None
        return found

    def page(
        self,
        *,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
        fields: Collection[str] = frozenset(Job.model_fields),
        tenant: str | None = None,
    ) -> tuple[list[Job], str | None]:
        """A page, newest first, from after ``cursor``, and the next cursor; only the last page is not full.

        With ``tenant`` it has that tenant's jobs alone. Only ``fields`` of the jobs are read, and what every
        job has; others keep their defaults. Records that cannot be read are left out; those that have
        expired are removed from the lists. Raises `InvalidRequest` for what is no cursor.
        """
        after = None if cursor is None else read_cursor(cursor)
        index = self.list_of(tenant, status)
        found: list[tuple[float, Job]] = []
        expired: list[str] = []
        for score, job_id, job in self._listed(index, after, limit + 2, fields):
            if job is None:
                expired.append(job_id)
            elif isinstance(job, JobUnreadable):
                log.warning("job left out of a page", extra={"job": job_id, "error": str(job)})
            elif status in (None, job.status) and tenant in (None, job.tenant):
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

    def heal(self, job_ids: Sequence[str]) -> None:
        """Put each job on the lists of its status and off all others; one that is gone leaves nothing."""
        if job_ids:
            pipe = self.redis.pipeline(transaction=False)
            for job_id in job_ids:
                self.script("heal", job_id, pipe=pipe)
            pipe.execute(raise_on_error=False)


def check_id(job_id: str) -> None:
    """An id becomes part of a key: nothing but an id may."""
    if not re.fullmatch(r"[0-9a-f]{16}", job_id):
        raise no_job(job_id)


def _present(names: Iterable[str], values: Iterable[str | None]) -> dict[str, str]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}
