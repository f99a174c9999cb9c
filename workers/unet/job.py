"""The story of a picture: claim the job, denoise beside the ControlNets, patch LoRAs in flight, store."""

import logging
import time
from contextlib import ExitStack

from PIL import Image
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from shared import metrics
from shared.errors import (
    AttemptLost,
    JobCancelled,
    LoraUnavailable,
    S3Unavailable,
    SwiftError,
    Unavailable,
)
from shared.jobs.attempt import Attempt
from shared.jobs.receipt import Receipt
from shared.jobs.record import Failure, StoredImage
from shared.keys import image_key
from shared.logs import log_fields
from workers.unet.attempt_context import AttemptContext
from workers.unet.generation import Generation
from workers.unet.lease import Lease
from workers.unet.lora import restore_weights_on_error
from workers.unet.output.images import encode_png, sha256
from workers.unet.output.replay import Replay
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)

#: Redis answers, and takes no writes right now.
_REDIS_AWAY = (OutOfMemoryError, ReadOnlyError)


def execute_job(worker: UNetWorker, job_id: str, name: str) -> str:
    """Run one attempt at a job under the worker's ``name``; returns how it ended.

    A retryable error gives the job back to the queue and is raised, so that the caller sends the
    message again; any other error ends the job as failed and is raised, so that Flower shows it.
    """
    attempt = worker.jobs.claim(job_id, name)
    if attempt is None:
        return "not mine"
    # A job's times are Redis': this machine's clock may be another.
    timeline = Timeline(name, behind_s=(attempt.job.started_at or time.time()) - time.time())
    timeline.add("queued", attempt.job.created_at - timeline.behind_s, time.time(), "queue")
    with log_fields(job=job_id, attempt=attempt.token):
        return _end_and_tell(worker, attempt, timeline)


def _end_and_tell(worker: UNetWorker, attempt: Attempt, timeline: Timeline) -> str:
    """Run the attempt, count it and log how it ended: never with its prompt."""
    job, began = attempt.job, time.monotonic()
    waited_s = round((job.started_at or job.created_at) - job.created_at, 3)
    log.info(
        "job started", extra={"model": job.spec.model, "ordinal": job.attempts, "since_accepted_s": waited_s}
    )
    status, why = "lost", {}
    try:
        with worker.busy:
            status = _end(worker, attempt, timeline)
    except AttemptLost:
        pass
    except Exception as error:
        status = "requeued" if is_retryable(error) else "failed"
        why = _failure(error).model_dump()
        raise
    finally:
        took_s = time.monotonic() - began
        metrics.ATTEMPTS_ENDED.labels(job.spec.model, status).inc()
        metrics.ATTEMPT_S.labels(job.spec.model).observe(took_s)
        level = logging.INFO if status in ("succeeded", "cancelled") else logging.WARNING
        log.log(level, f"job {status}", extra={"model": job.spec.model, "took_s": round(took_s, 3), **why})
    return status


def _end(worker: UNetWorker, attempt: Attempt, timeline: Timeline) -> str:
    """Run the attempt and write how it ended; raises `AttemptLost` when that is another's to say."""
    try:
        return _run(worker, attempt, timeline)
    except JobCancelled:
        attempt.end("cancelled", None, timeline.spans)
        return "cancelled"
    except AttemptLost:
        _delete_images(worker, attempt)
        raise
    except Exception as error:
        _fail(worker, attempt, error, timeline)
        raise


def _run(worker: UNetWorker, attempt: Attempt, timeline: Timeline) -> str:
    spec = attempt.job.spec
    with ExitStack() as stack:
        limit_s = worker.settings.job_timeout_s
        stack.enter_context(worker.watchdog.limit(f"job {attempt.job.id}", limit_s))
        watch = stack.enter_context(Lease(attempt, worker.settings))
        with timeline.span("model"):
            model = stack.enter_context(worker.models.use(spec.model))
        stack.enter_context(restore_weights_on_error(worker.models, model))
        context = AttemptContext(
            worker=worker,
            model=model,
            spec=spec,
            job_id=attempt.job.id,
            attempt=attempt.token,
            ordinal=attempt.job.attempts,
            role="leader",
            timeline=timeline,
            check=watch.check,
            replay=Replay(attempt.job.replays),
        )
        images, receipt, warnings = Generation(context, watch).run()
        with timeline.span("store"):
            pictures = _store(worker, attempt, images, receipt)
        watch.check()
    attempt.succeed(pictures, receipt, timeline.spans, [*attempt.job.warnings, *warnings])
    return "succeeded"


def _store(
    worker: UNetWorker, attempt: Attempt, images: list[Image.Image], receipt: Receipt
) -> list[StoredImage]:
    pictures = []
    for i, image in enumerate(images):
        png = encode_png(image, receipt, i)
        key = image_key(attempt.job.id, attempt.token, i)
        worker.images.put(key, png, content_type="image/png")
        pictures.append(
            StoredImage(
                key=key,
                seed=attempt.job.spec.image_seeds[i],
                width=image.width,
                height=image.height,
                sha256=sha256(png),
            )
        )
    return pictures


def _delete_images(worker: UNetWorker, attempt: Attempt) -> None:
    """Remove what a lost attempt has stored; should this fail, a sweep removes it."""
    try:
        for i in range(attempt.job.spec.num_images):
            worker.images.delete(image_key(attempt.job.id, attempt.token, i))
    except SwiftError as error:
        log.warning("images of a lost attempt are left to a sweep", extra={"error": str(error)})


def _fail(worker: UNetWorker, attempt: Attempt, error: Exception, timeline: Timeline) -> None:
    """Give the job back if another attempt may succeed, else end it with the reason."""
    if not is_retryable(error):
        attempt.end("failed", _failure(error), timeline.spans)
        return
    try:
        attempt.give_back(_failure(error), is_infrastructure=_is_infrastructure(worker, error))
    except (AttemptLost, RedisError):
        log.warning("could not give the job back: recovery does once its lease has expired")


def _failure(error: Exception) -> Failure:
    code = SwiftError.code
    if isinstance(error, SwiftError):
        code = error.code
    elif isinstance(error, RedisError):
        code = Unavailable.code
    return Failure(code=code, detail=str(error) or repr(error))


def _is_infrastructure(worker: UNetWorker, error: Exception) -> bool:
    """Whether a server was away: that says nothing about the job."""
    if isinstance(error, RedisError):
        return not isinstance(error, ResponseError) or isinstance(error, _REDIS_AWAY)
    if isinstance(error, LoraUnavailable):
        try:
            worker.images.ready()
        except Unavailable:
            return True
        return False
    return isinstance(error, S3Unavailable)


def is_retryable(error: Exception) -> bool:
    """Whether another attempt at the job may succeed: our errors say it, and servers come back."""
    return isinstance(error, RedisError) or (isinstance(error, SwiftError) and error.retryable)
