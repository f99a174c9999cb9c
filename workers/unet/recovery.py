"""Brings jobs back that no living worker holds: a chore of every UNet worker, safe to run in many."""

import json
import logging
import time
from collections.abc import Sequence

from celery import Celery

from shared import keys
from shared.errors import NotFound
from shared.jobs import JobStore
from shared.queues import send_job, unet_queue

log = logging.getLogger(__name__)

#: Where kombu keeps messages that a worker took and has not acknowledged, and when it took them.
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"
#: A younger job may be between two places right now.
SETTLED_S = 5.0
#: Older than this, what a worker took and did not start went down with it.
HELD_S = 70.0
#: The queues are read at most this often, by one worker of the fleet.
READ_EVERY_S = 5


def recover(celery: Celery, jobs: JobStore, models: Sequence[str]) -> None:
    """Send a message for every queued job that has none; twice is harmless, only one can claim it."""
    for job_id in {*jobs.orphans(), *_without_message(jobs, models)}:
        try:
            model = jobs.get(job_id).spec.model
        except NotFound:
            jobs.forget(job_id)  # it expired in the queue
            continue
        log.warning("job queued again", extra={"job": job_id})
        send_job(celery, job_id, model)
        jobs.sent(job_id)


def _without_message(jobs: JobStore, models: Sequence[str]) -> set[str]:
    """Queued jobs whose message went down with a worker.

    kombu pops a message before it notes it as unacknowledged: a kill in between loses it. And what a
    dead worker held is given back only after the visibility timeout, which is hours.
    """
    redis, now = jobs.redis, time.time()
    settled: list[str] = redis.zrangebyscore(keys.by_status("queued"), 0, now - SETTLED_S)  # type: ignore[assignment]
    if not settled or not redis.set(keys.RECOVERY, 1, nx=True, ex=READ_EVERY_S):
        return set()
    messages = [json.loads(text) for model in models for text in redis.lrange(unet_queue(model), 0, -1)]
    # A living worker starts what it takes at once, or holds it for a retry of at most a minute.
    held = redis.zrangebyscore(UNACKED_INDEX, now - HELD_S, "+inf")
    taken = redis.hmget(UNACKED, [str(tag) for tag in held]) if held else []
    messages += [json.loads(text)[0] for text in taken if text]
    return set(settled) - {message["headers"].get("id") for message in messages}
