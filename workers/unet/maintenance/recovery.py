"""Brings jobs back that no living worker holds: a chore of every UNet worker, safe to run in many."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery

from shared import keys
from shared.catalog.entries import Catalog
from shared.catalog.schedulers import SCHEDULERS
from shared.errors import CatalogGone, JobUnreadable, SwiftError
from shared.jobs.record import RECORD_VERSION, Failure, Job
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.messaging.celery_app import send_job, unet_queue
from shared.registry.workers import live_workers

log = logging.getLogger(__name__)

#: Where kombu keeps messages that a worker took and has not acknowledged, and when it took them.
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
#: A younger job may be between two places right now.
SETTLED_S = 5.0
#: Longer than this, what a worker took and did not start went down with it.
HELD_S = 70.0
#: The queues are read at most this often, by one worker of the fleet.
READ_EVERY_S = 5
#: The oldest jobs that wait are looked at, so many at a time: what nothing can run gets old.
OLDEST = 200


@dataclass(frozen=True)
class ServedModels:
    """Names that some worker of the fleet can run: this one's catalog, and what live workers report."""

    models: frozenset[str]
    controlnets: frozenset[str]

    @classmethod
    def by(cls, catalog: Catalog, jobs: JobStore) -> "ServedModels":
        """Workers' catalogs may differ, as while a new one is rolled out."""
        workers = live_workers(jobs.redis)
        return cls(
            models=frozenset(catalog.models).union(*(one.serves for one in workers if one.kind == "unet")),
            controlnets=frozenset(catalog.controlnets).union(
                *(one.serves for one in workers if one.kind == "controlnet")
            ),
        )

    def missing(self, spec: JobSpec) -> CatalogGone | None:
        """The first name of a job that nobody can run."""
        if spec.model not in self.models:
            return CatalogGone("model", spec.model)
        for controlnet in spec.controlnets:
            if controlnet.name not in self.controlnets:
                return CatalogGone("controlnet", controlnet.name)
        return None if spec.scheduler in SCHEDULERS else CatalogGone("scheduler", spec.scheduler)


def recover(celery: Celery, jobs: JobStore, catalog: Catalog, grace_s: float) -> None:
    """Send a message for every queued job that has none; twice is harmless, only one can claim it.

    A job that no worker could run for ``grace_s`` is failed instead.
    """
    lost = set(jobs.orphans())
    looked_at: set[str] = set()
    if jobs.redis.set(keys.RECOVERY, 1, nx=True, ex=READ_EVERY_S):
        lost |= _without_message(jobs, catalog)
        looked_at = set(map(str, jobs.redis.zrange(keys.by_status("queued"), 0, OLDEST - 1)))
    if not lost | looked_at:
        return
    served = ServedModels.by(catalog, jobs)
    for job_id, record in jobs.read(lost | looked_at).items():
        if record is None:
            jobs.heal([job_id])  # it expired in the queue
            continue
        why = _why_not(record, served)
        if why is not None:
            _fail_in_time(jobs, job_id, why, grace_s)
            continue
        jobs.redis.zrem(keys.UNRUNNABLE, job_id)
        if job_id in lost and isinstance(record, Job):
            log.warning("job queued again", extra={"job": job_id})
            send_job(celery, job_id, record.spec.model)
            jobs.sent(job_id)


def unacked_since(jobs: JobStore) -> Mapping[str, float]:
    """When each unacknowledged message was first seen, by Redis' clock: kombu notes its worker's own."""
    redis, now = jobs.redis, jobs.now()
    tags = {str(tag) for tag in (*redis.zrange(UNACKED_INDEX, 0, -1), *redis.hkeys(UNACKED))}
    seen: list[tuple[str, float]] = redis.zrange(keys.MESSAGES_SEEN, 0, -1, withscores=True)  # type: ignore[assignment]
    settled = [tag for tag, _ in seen if tag not in tags]
    if settled:
        redis.zrem(keys.MESSAGES_SEEN, *settled)
    new = dict.fromkeys(tags - {tag for tag, _ in seen}, now)
    if new:
        redis.zadd(keys.MESSAGES_SEEN, new, nx=True)
    return {**{tag: at for tag, at in seen if tag in tags}, **new}


def job_of(message: Any) -> str | None:
    """The job that a message is for: its task's id; ``None`` for what is no message."""
    try:
        found = json.loads(message) if isinstance(message, str) else message
        found = found[0] if isinstance(found, list) else found  # unacknowledged: with exchange and key
        job_id = found["headers"]["id"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return job_id if isinstance(job_id, str) else None


def _why_not(record: Job | JobUnreadable, served: ServedModels) -> SwiftError | None:
    """Why no worker that this one knows of can run a job."""
    if isinstance(record, JobUnreadable):
        return record
    if record.version > RECORD_VERSION:
        return JobUnreadable(f"its record has version {record.version}, workers know {RECORD_VERSION}")
    return served.missing(record.spec)


def _fail_in_time(jobs: JobStore, job_id: str, why: SwiftError, grace_s: float) -> None:
    """Fail a job that nothing can run, once that has been so for ``grace_s``: a worker that can says so."""
    now = jobs.now()
    jobs.redis.zadd(keys.UNRUNNABLE, {job_id: now}, nx=True)
    since = jobs.redis.zscore(keys.UNRUNNABLE, job_id)
    if since is not None and now - since >= grace_s:
        log.error("job failed: nothing can run it", extra={"job": job_id, "code": why.code})
        jobs.fail(job_id, Failure.of(why))


def _without_message(jobs: JobStore, catalog: Catalog) -> set[str]:
    """Queued jobs whose message went down with a worker.

    kombu pops a message before it notes it as unacknowledged: a kill in between loses it. And what a
    dead worker held is given back only after the visibility timeout, which is hours.
    """
    redis, now = jobs.redis, jobs.now()
    since = unacked_since(jobs)
    settled = set(map(str, redis.zrangebyscore(keys.by_status("queued"), 0, now - SETTLED_S)))
    if not settled:
        return set()
    waiting = settled - _queued(jobs, catalog.models)
    # A living worker starts what it takes at once, or holds it for a retry of at most a minute.
    held = [tag for tag, seen_at in since.items() if now - seen_at < HELD_S]
    waiting -= set(map(job_of, redis.hmget(UNACKED, held))) if held else set()
    if not waiting:
        return set()
    found = jobs.read(waiting).values()
    return waiting - _queued(
        jobs, {job.spec.model for job in found if isinstance(job, Job)} - {*catalog.models}
    )


def _queued(jobs: JobStore, models: Iterable[str]) -> set[str | None]:
    """Jobs whose message is in the common queue of one of ``models``."""
    return {job_of(text) for model in models for text in jobs.redis.lrange(unet_queue(model), 0, -1)}
