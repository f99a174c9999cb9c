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
from shared.jobs.record import REQUIRED, Job, Status, parse_record, record_error
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)


class JobReader:
    """Reads jobs, and corrects lists that name what has expired."""

    def __init__(self, redis: "Redis", settings: Settings) -> None:
        self.redis = redis
        self.script = JobScript(redis, settings)

    def get(self, job_id: str) -> Job:
        """The job; raises `NotFound` and `JobUnreadable`."""
        check_id(job_id)
        try:
            fields: dict[str, str] = self.redis.hgetall(keys.job(job_id))  # type: ignore[assignment]
        except ResponseError as error:
            raise record_error(job_id, error) from None
        return parse_record(job_id, fields)

    def read(
        self, job_ids: Collection[str], fields: Collection[str] = frozenset(Job.model_fields)
    ) -> dict[str, "Job | JobUnreadable | None"]:
        """Many jobs by id: as its error what cannot be read, ``None`` for what is gone.

        Of each only ``fields`` are read, as `page` does.
        """
        names = list(Job.model_fields.keys() & {*REQUIRED, *fields})
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
    ) -> tuple[list[Job], str | None]:
        """A page, newest first, from after ``cursor``, and the next cursor; only the last page is not full.

        Only ``fields`` of the jobs are read, and what every job has; others keep their defaults. Records
        that cannot be read are left out; those that have expired are removed from the lists. Raises
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
        raise NotFound(f"there is no job {job_id!r}")


def _present(names: Iterable[str], values: Iterable[str | None]) -> dict[str, str]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}
