"""How an attempt ends: decides between cancelled, lost, requeued and failed, stores and reports it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from shared import metrics
from shared.errors import (
    AttemptLost,
    ControlNetChanged,
    DeviceLost,
    JobCancelled,
    JobPreempted,
    LoraUnavailable,
    S3Unavailable,
    SwiftError,
    Unavailable,
    WorkerStopping,
)
from shared.jobs.attempt import Attempt, Used
from shared.jobs.record import Failure, Job
from workers.unet.output.stored_images import delete_images
from workers.unet.retryable import is_retryable
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)

#: Outcomes whose error is raised, so that Flower shows it.
ERRORS = ("requeued", "handed_over", "preempted", "failed")
#: Outcomes at which nothing went wrong.
_EXPECTED = ("succeeded", "cancelled", "handed_over", "preempted")
#: Redis answers, and takes no writes right now.
_REDIS_REFUSES_WRITES = (OutOfMemoryError, ReadOnlyError)


@dataclass
class Outcome:
    """The outcome of an attempt, as metrics and logs name it."""

    status: str = ""


@contextmanager
def report_outcome(attempt: Attempt) -> Iterator[Outcome]:
    """Count the attempt and log how it ended, by the status that the block sets; never with its prompt."""
    job, start = attempt.job, time.monotonic()
    model, queued_s = job.spec.model, round((job.started_at or job.created_at) - job.created_at, 3)
    metrics.QUEUE_WAIT_S.labels(model).observe(_waited_s(job))
    log.info("job started", extra={"model": model, "ordinal": job.attempts, "since_accepted_s": queued_s})
    outcome, reason = Outcome(), {}
    try:
        yield outcome
    except Exception as error:
        outcome.status = _status_after(error)
        reason = _failure_of(error).model_dump()
        raise
    finally:
        status, took_s = outcome.status or "lost", time.monotonic() - start
        metrics.ATTEMPTS_ENDED.labels(model, status).inc()
        metrics.ATTEMPT_S.labels(model).observe(took_s)
        level = logging.INFO if status in _EXPECTED else logging.WARNING
        log.log(level, f"job {status}", extra={"model": model, "took_s": round(took_s, 3), **reason})


def _waited_s(job: Job) -> float:
    """How long a job that runs has waited for this attempt."""
    since = job.earlier_attempts[-1].end_s if job.earlier_attempts else job.created_at
    return max((job.started_at or since) - since, 0.0)


def end_after_error(worker: UNetWorker, attempt: Attempt, timeline: Timeline, error: Exception) -> str:
    """Store how an attempt ends that raised ``error``; returns its outcome.

    ``lost`` if another attempt, or nobody, holds the job by now: then nothing of this one may stay.
    """
    try:
        if isinstance(error, JobCancelled):
            attempt.end("cancelled", None, timeline.spans, used=Used(timeline.device_s))
            return "cancelled"
        if isinstance(error, AttemptLost):
            delete_images(worker, attempt)
            return "lost"
        if is_retryable(error):
            _requeue(worker, attempt, error)
            return _status_after(error)
        attempt.end("failed", _failure_of(error), timeline.spans, used=Used(timeline.device_s))
        return "failed"
    except AttemptLost:
        return "lost"


def _status_after(error: Exception) -> str:
    if isinstance(error, WorkerStopping | JobPreempted):
        return "handed_over" if isinstance(error, WorkerStopping) else "preempted"
    return "requeued" if is_retryable(error) else "failed"


def _requeue(worker: UNetWorker, attempt: Attempt, error: Exception) -> None:
    """Put the job back into the queue; it fails if this was its last attempt."""
    try:
        if isinstance(error, WorkerStopping | JobPreempted):
            attempt.hand_over()
            return
        attempt.requeue(_failure_of(error), is_infrastructure=_is_infrastructure(worker, attempt, error))
    except (AttemptLost, RedisError):
        log.warning("job not requeued: recovery does that once its lease has expired")


def _failure_of(error: Exception) -> Failure:
    code = SwiftError.code
    if isinstance(error, SwiftError):
        code = error.code
    elif isinstance(error, RedisError):
        code = Unavailable.code
    return Failure(code=code, detail=str(error) or repr(error))


def _is_infrastructure(worker: UNetWorker, attempt: Attempt, error: Exception) -> bool:
    """Whether a server or a device was lost, which does not count as an attempt at the job.

    Nor does it that the weights of a ControlNet are just being replaced.

    A job may be what its devices are lost by, such as one whose indices are out of bounds: after as many
    losses as a job has attempts they count as its own, so that it cannot go on for ever.
    """
    if isinstance(error, DeviceLost):
        return attempt.job.infrastructure_losses < worker.settings.max_attempts
    if isinstance(error, ControlNetChanged):
        return True
    if isinstance(error, RedisError):
        return not isinstance(error, ResponseError) or isinstance(error, _REDIS_REFUSES_WRITES)
    if isinstance(error, LoraUnavailable):
        try:
            worker.images.ready()
        except Unavailable:
            return True
        return False
    return isinstance(error, S3Unavailable)
