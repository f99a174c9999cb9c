"""How a job's end becomes the end of its Celery task: in Flower a task succeeds only if its job did."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from celery.exceptions import Ignore, Retry
from redis.exceptions import RedisError

from shared.errors import DeviceLost, JobPreempted, NotFound, SwiftError, WorkerStopping
from shared.jobs.record import Failure
from shared.jobs.store import JobStore
from shared.messaging.celery_app import unet_queue
from shared.scheduling.fair_queue import FairQueue, Where
from workers.unet.retryable import is_retryable


class JobFailed(SwiftError):
    """A job that was failed elsewhere: after its last attempt, or by another worker."""

    def __init__(self, failure: Failure | None) -> None:
        super().__init__(f"{failure.code}: {failure.detail}" if failure else "the job failed")


def end_task(task: Any, jobs: JobStore, job_id: str, status: str) -> str:
    """End ``task``, a bound Celery task, as its job has ended; ``status`` is how this attempt ended.

    Raises `JobFailed` for a failed job. Raises Celery's `Ignore` for a cancelled one, whose task is revoked,
    and for one that another worker holds, which also reports its end.
    """
    if status == "succeeded":
        return status
    try:
        job = jobs.get(job_id)
    except NotFound:
        raise Ignore("the job is gone") from None
    if job.status == "failed":
        raise JobFailed(job.error)
    if job.status == "cancelled":
        task.send_event("task-revoked", terminated=True, signum=None, expired=False)
        raise Ignore("the job was cancelled")
    if job.status == "succeeded":
        return "succeeded by another attempt"
    raise Ignore("another attempt holds the job, or a later message brings it")


@contextmanager
def retried_later(task: Any, queue: FairQueue, job_id: str) -> Iterator[None]:
    """Place the job again if the block raises an error that another attempt may not meet.

    Each pause is longer than the one before, as a server that is away needs its time. There is none after
    the loss of this worker's device, or once it was told to stop: another one may take the job. Only a job
    that was handed over comes before those that wait: one that loses its devices would take them all. One
    that was preempted gets its place back, behind the job for which it was.
    """
    try:
        yield
    except Exception as error:
        if not is_retryable(error):
            raise
        where: Where = "later"
        if isinstance(error, WorkerStopping):
            where = "first"
        elif isinstance(error, JobPreempted):
            where = "again"
        elif isinstance(error, DeviceLost):
            where = "last"
        with suppress(RedisError):  # then recovery does it
            queue.send(job_id, _model_of(task.request), where)
        raise Retry(exc=error) from error


def _model_of(request: Any) -> str:
    """The model in whose queue the message was; it may have been this worker's own one."""
    return str(request.delivery_info["routing_key"]).partition("@")[0].removeprefix(unet_queue(""))
