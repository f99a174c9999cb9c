"""The life of a job on a UNet worker: claim, load the model, generate, store, finish."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import ControlNetChanged
from shared.jobs.attempt import Attempt, Used
from shared.jobs.record import ENDED
from shared.logs import log_fields
from workers.families.base import BaseModel
from workers.unet.attempt_context import AttemptContext
from workers.unet.attempt_outcome import ERRORS, end_after_error, report_outcome
from workers.unet.generation import Generation, GenerationResult
from workers.unet.lease import Lease
from workers.unet.output.job_times import note_eta_ratio, note_times
from workers.unet.output.replay import Replay
from workers.unet.output.stored_images import store_images
from workers.unet.restore_weights import restore_weights_on_error
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker


def execute_job(
    worker: UNetWorker, job_id: str, name: str, leave_device: Callable[[], None] = lambda: None
) -> str:
    """Run one attempt at a job under the worker's ``name``; returns how it ended.

    ``leave_device`` is called when nothing is left to compute: the images are stored while the next job
    begins. A retryable error gives the job back to the queue and is raised, so that the caller sends the
    message again; any other error ends the job as failed and is raised, so that Flower shows it.
    """
    attempt = worker.jobs.claim(job_id, name)
    if attempt is None:
        return "not claimed"
    timeline = _start_timeline(attempt, name)
    fields = log_fields(job=job_id, attempt=attempt.token, tenant=attempt.job.tenant)
    with fields, report_outcome(attempt) as outcome:
        try:
            with _held(worker, attempt) as lease:
                start_s = time.monotonic()
                images, receipt, warnings = _generate(worker, attempt, timeline, lease)
                used_s = time.monotonic() - start_s
                leave_device()
                with timeline.span("store"):
                    stored = store_images(worker, attempt, images, receipt)
                lease.check()
            used = Used(timeline.device_s, stored.total_bytes)
            all_warnings = [*attempt.job.warnings, *warnings]
            attempt.succeed(stored.images, receipt, timeline.spans, all_warnings, used=used)
            outcome.status = "succeeded"
            note_eta_ratio(attempt.job, timeline)
            note_times(worker, receipt.spec, timeline, used_s)
        except Exception as error:
            if isinstance(error, ControlNetChanged):  # the next attempt would meet it again
                worker.checkpoints.end(job_id, attempt.job.attempts)
            outcome.status = end_after_error(worker, attempt, timeline, error)
            if outcome.status in ERRORS:
                raise
        finally:
            if outcome.status in ENDED:
                worker.checkpoints.end(job_id, attempt.job.attempts)
            worker.checkpoints.forget(job_id)
    return outcome.status


def _start_timeline(attempt: Attempt, name: str) -> Timeline:
    """The attempt's timeline by Redis' clock, as all of a job's times are: this machine's may be wrong."""
    timeline = Timeline(name, behind_s=(attempt.job.started_at or time.time()) - time.time())
    since_s = attempt.job.created_at
    for earlier in attempt.job.earlier_attempts:
        timeline.add_known("queued", since_s, earlier.start_s, "queue")
        timeline.add_known(earlier.name, earlier.start_s, earlier.end_s, earlier.worker)
        since_s = earlier.end_s
    timeline.add_known("queued", since_s, time.time() + timeline.behind_s, "queue")
    return timeline


@contextmanager
def _held(worker: UNetWorker, attempt: Attempt) -> Iterator[Lease]:
    """Within the block the lease is held, and a hanging device ends the process."""
    limit = worker.watchdog.limit(f"job {attempt.job.id}", worker.settings.job_timeout_s)
    with limit, Lease(attempt, worker.settings) as lease:
        yield lease


def _generate(worker: UNetWorker, attempt: Attempt, timeline: Timeline, lease: Lease) -> GenerationResult:
    """Load the model and generate the images; a second time if the device's memory did not suffice."""
    with worker.activity.generate, worker.device_loss.translate_errors(), timeline.on_device():
        start = time.time()
        with worker.models.use(attempt.job.spec.model) as model:
            timeline.add("model", start, time.time())
            return worker.models.memory.retry_when_full(
                lambda: _generate_once(worker, model, attempt, timeline, lease)
            )


def _generate_once(
    worker: UNetWorker, model: BaseModel, attempt: Attempt, timeline: Timeline, lease: Lease
) -> GenerationResult:
    job = attempt.job
    with worker.prompts.held_for_loras(model, job.spec), restore_weights_on_error(worker, model):
        context = AttemptContext(
            worker=worker,
            model=model,
            spec=job.spec,
            job_id=job.id,
            tenant=job.tenant,
            attempt=attempt.token,
            ordinal=job.attempts,
            role="leader",
            timeline=timeline,
            check=lease.check,
            replay=Replay(job.replays),
        )
        return Generation(context, lease).run()
