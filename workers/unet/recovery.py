"""Brings jobs of dead workers back: a chore of every UNet worker's heartbeat, safe to run in many."""

import logging

from celery import Celery

from shared.errors import NotFound
from shared.jobs import JobStore
from shared.messages import GenerateJob
from shared.queues import GENERATE, unet_queue

log = logging.getLogger(__name__)


def send_job(celery: Celery, jobs: JobStore, job_id: str) -> None:
    """Put a job's message into its queue. Twice is harmless: only one attempt can claim the job."""
    model = jobs.get(job_id).spec.model
    celery.send_task(GENERATE, args=[GenerateJob(job_id=job_id).model_dump()], queue=unet_queue(model))
    jobs.sent(job_id)


def recover(celery: Celery, jobs: JobStore) -> None:
    """Queue every job again whose worker fell silent, or whose message was never sent."""
    for job_id in jobs.orphans():
        try:
            send_job(celery, jobs, job_id)
        except NotFound:
            jobs.sent(job_id)  # it expired in the queue
            continue
        log.warning("job queued again job=%s", job_id)
