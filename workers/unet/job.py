"""The life of a job on a UNet worker: claim, load the model, generate, store, finish."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from shared.jobs.attempt import Attempt
from shared.logs import log_fields
from workers.unet.attempt_context import AttemptContext
from workers.unet.attempt_outcome import ERRORS, end_after_error, report_outcome
from workers.unet.generation import Generation
from workers.unet.lease import Lease
from workers.unet.output.replay import Replay
from workers.unet.output.stored_images import store_images
from workers.unet.restore_weights import restore_weights_on_error
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker


def execute_job(worker: UNetWorker, job_id: str, name: str) -> str:
    """Run one attempt at a job under the worker's ``name``; returns how it ended.

    A retryable error gives the job back to the queue and is raised, so that the caller sends the message
    again; any other error ends the job as failed and is raised, so that Flower shows it.
    """
    attempt = worker.jobs.claim(job_id, name)
    if attempt is None:
        return "not claimed"
    timeline = _start_timeline(attempt, name)
    with log_fields(job=job_id, attempt=attempt.token), report_outcome(attempt) as outcome, worker.busy:
        try:
            with _running(worker, attempt, timeline) as (context, lease):
                images, receipt, warnings = Generation(context, lease).run()
                with timeline.span("store"):
                    stored = store_images(context, images, receipt)
                lease.check()
            attempt.succeed(stored, receipt, timeline.spans, [*attempt.job.warnings, *warnings])
            outcome.status = "succeeded"
        except Exception as error:
            outcome.status = end_after_error(worker, attempt, timeline, error)
            if outcome.status in ERRORS:
                raise
    return outcome.status


def _start_timeline(attempt: Attempt, name: str) -> Timeline:
    """The attempt's timeline by Redis' clock, as all of a job's times are: this machine's may be wrong."""
    timeline = Timeline(name, behind_s=(attempt.job.started_at or time.time()) - time.time())
    timeline.add("queued", attempt.job.created_at - timeline.behind_s, time.time(), "queue")
    return timeline


@contextmanager
def _running(
    worker: UNetWorker, attempt: Attempt, timeline: Timeline
) -> Iterator[tuple[AttemptContext, Lease]]:
    """Within the block the lease is held, the model loaded, and a hanging device ends the process."""
    job = attempt.job
    with ExitStack() as stack:
        stack.enter_context(worker.watchdog.limit(f"job {job.id}", worker.settings.job_timeout_s))
        lease = stack.enter_context(Lease(attempt, worker.settings))
        with timeline.span("model"):
            model = stack.enter_context(worker.models.use(job.spec.model))
        stack.enter_context(restore_weights_on_error(worker.models, model))
        context = AttemptContext(
            worker=worker,
            model=model,
            spec=job.spec,
            job_id=job.id,
            attempt=attempt.token,
            ordinal=job.attempts,
            role="leader",
            timeline=timeline,
            check=lease.check,
            replay=Replay(job.replays),
        )
        yield context, lease
