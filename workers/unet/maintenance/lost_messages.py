"""Finds queued jobs whose message was lost with a worker; part of recovery.

kombu pops a message before it records it as unacknowledged: a kill in between loses it. And what a dead
worker held is given back only after the visibility timeout, which is hours.
"""

from collections.abc import Collection, Iterable
from typing import Any

from shared import keys
from shared.jobs.record import Job
from shared.jobs.store import JobStore
from shared.messaging.celery_app import unet_queue
from shared.scheduling.fair_queue import FairQueue
from workers.unet.maintenance.unacked import HELD_S, UNACKED, job_of, unacked_since

#: Released jobs that are looked at each time, the oldest ones: there are about as many as workers.
RELEASED = 1000
#: Queued jobs of any kind that are looked at each time: after an upgrade, a lost write or an edit by hand
#: there may be some that are neither held nor known as released.
PORTION = 250
#: Where the next portion begins, in `keys.SWEEP_CURSORS`.
CURSOR = "recovery:queued"


def find_lost_messages(
    queue: FairQueue, jobs: JobStore, models: Collection[str], *, settled_s: float
) -> set[str]:
    """Jobs that were released ``settled_s`` ago, without a message, and those of the next portion.

    ``models`` are those of the catalog. It takes no longer if more jobs are held.
    """
    redis, now = jobs.redis, jobs.now()
    since = unacked_since(jobs)
    settled = queue.unclaimed(settled_s, RELEASED) | queue.heal_held(_next_portion(jobs, now - settled_s))
    if not settled:
        return set()
    waiting = settled - _queued(jobs, models)
    held = [tag for tag, seen_at in since.items() if now - seen_at < HELD_S]
    waiting -= set(map(job_of, redis.hmget(UNACKED, held))) if held else set()
    if not waiting:
        return set()
    found = jobs.read(waiting).values()
    return waiting - _queued(jobs, {job.spec.model for job in found if isinstance(job, Job)} - {*models})


def _next_portion(jobs: JobStore, accepted_by: float) -> list[str]:
    """The next queued jobs that were accepted by then; after the last ones it begins again."""
    queued = keys.by_status("queued")
    begin = int(jobs.redis.hget(keys.SWEEP_CURSORS, CURSOR) or 0)
    reply: Any = jobs.redis.zscan(queued, begin, count=PORTION)
    cursor, found = reply
    jobs.redis.hset(keys.SWEEP_CURSORS, CURSOR, str(cursor))
    return [str(job_id) for job_id, accepted_at in found if accepted_at <= accepted_by]


def _queued(jobs: JobStore, models: Iterable[str]) -> set[str | None]:
    """Jobs whose message is in the shared queue of one of ``models``."""
    return {job_of(text) for model in models for text in jobs.redis.lrange(unet_queue(model), 0, -1)}
