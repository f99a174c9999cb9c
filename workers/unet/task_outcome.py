"""How a job's end appears as the end of its task: in Flower a task succeeds only if its job did."""

from typing import Any

from celery.exceptions import Ignore

from shared.errors import NotFound, SwiftError
from shared.jobs.record import Failure
from shared.jobs.store import JobStore


class JobFailed(SwiftError):
    """A job that was failed elsewhere: after its last attempt, or by another worker."""

    def __init__(self, failure: Failure | None) -> None:
        super().__init__(f"{failure.code}: {failure.detail}" if failure else "the job failed")


def conclude(task: Any, jobs: JobStore, job_id: str, status: str) -> str:
    """End ``task``, a bound Celery task, as its job has ended; ``status`` is what this attempt came to.

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
