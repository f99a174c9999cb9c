"""Tells Flower of tasks whose messages Celery does not send itself: held jobs."""

from functools import cached_property
from typing import Any

from celery import Celery

from shared.messaging.celery_app import GENERATE, unet_queue, worker_queue
from shared.messaging.messages import GenerateJob


class TaskEvents:
    """Publishes the events of one Celery app."""

    def __init__(self, celery: Celery) -> None:
        self._celery: Any = celery  # typed only in part

    def job_sent(self, job_id: str, model: str, worker: str | None = None) -> None:
        """The event ``task-sent``: from now on Flower lists the job. Raises what the broker client does."""
        queue = unet_queue(model) if worker is None else worker_queue(model, worker)
        fields = {
            "uuid": job_id,
            "root_id": job_id,
            "parent_id": None,
            "name": GENERATE,
            "args": repr([GenerateJob(job_id=job_id).model_dump()]),
            "kwargs": "{}",
            "retries": 0,
            "eta": None,
            "expires": None,
            "queue": queue,
            "exchange": "",
            "routing_key": queue,
        }
        conf = self._celery.conf
        with self._celery.producer_pool.acquire(block=True) as producer:
            self._dispatcher.publish(
                "task-sent",
                fields,
                producer,
                retry=conf.task_publish_retry,
                retry_policy=conf.task_publish_retry_policy,
            )

    @cached_property
    def _dispatcher(self) -> Any:
        # Not enabled: it is given a producer for each event.
        return self._celery.events.Dispatcher(enabled=False)
