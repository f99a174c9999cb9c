"""Sends messages of jobs as Celery does, past the script that holds jobs and releases them."""

from typing import Any

from celery import Celery

from shared.messaging.celery_app import GENERATE, default_exchange_queue, unet_queue, worker_queue
from shared.messaging.messages import GenerateJob


def send_job(celery: Celery, job_id: str, model: str, worker: str | None = None) -> None:
    """Queue a job for all workers of its model, or for the one that is reserved for it."""
    message = GenerateJob(job_id=job_id).model_dump()
    if worker is None:
        celery.send_task(GENERATE, args=[message], queue=unet_queue(model), task_id=job_id)
        return
    queue: Any = default_exchange_queue(worker_queue(model, worker))  # the types of send_task want a name
    celery.send_task(GENERATE, args=[message], queue=queue, declare=[], task_id=job_id)
