"""Brings jobs back that no living worker holds: a chore of every UNet worker, safe to run in many."""

import json
import logging
import time
from collections.abc import Sequence

from celery import Celery

from shared import keys
from shared.errors import NotFound
from shared.jobs import JobStore
from shared.messages import GenerateJob
from shared.queues import GENERATE, unet_queue

log = logging.getLogger(__name__)

#: Where kombu keeps messages that a worker took and has not acknowledged.
UNACKED = "unacked"
#: A younger job may be between two places right now.
SETTLED_S = 5.0


def recover(celery: Celery, jobs: JobStore, models: Sequence[str]) -> None:
    """Send a message for every queued job that has none; twice is harmless, only one can claim it."""
    for job_id in {*jobs.orphans(), *_without_message(jobs, models)}:
        try:
            model = jobs.get(job_id).spec.model
        except NotFound:
            jobs.sent(job_id)  # it expired in the queue
            continue
        log.warning("job queued again job=%s", job_id)
        message = GenerateJob(job_id=job_id).model_dump()
        celery.send_task(GENERATE, args=[message], queue=unet_queue(model), task_id=job_id)
        jobs.sent(job_id)


def _without_message(jobs: JobStore, models: Sequence[str]) -> set[str]:
    """Queued jobs whose message went down with a worker.

    kombu pops a message before it notes it as unacknowledged; a kill in between loses it. The queues
    are read only when there are fewer messages than queued jobs.
    """
    redis, queued = jobs.redis, keys.by_status("queued")
    settled: list[str] = redis.zrangebyscore(queued, 0, time.time() - SETTLED_S)  # type: ignore[assignment]
    if not settled:
        return set()
    queues = [unet_queue(model) for model in models]
    depth = sum(int(redis.llen(queue)) for queue in queues) + int(redis.hlen(UNACKED))
    if depth >= int(redis.zcard(queued)):
        return set()
    messages = [json.loads(text) for queue in queues for text in redis.lrange(queue, 0, -1)]
    messages += [json.loads(text)[0] for text in redis.hvals(UNACKED)]
    return set(settled) - {message["headers"].get("id") for message in messages}
