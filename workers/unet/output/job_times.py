"""Notes how long a job's parts took, from which the times of later jobs are estimated."""

import logging
import time
from statistics import median

from redis.exceptions import RedisError

from shared import metrics
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.scheduling.measured_times import JobTimes
from workers.unet.timeline import Timeline
from workers.unet.worker import UNetWorker

log = logging.getLogger(__name__)

#: A model that is there after less was loaded before the job came.
MIN_LOAD_S = 0.05


def note_eta_ratio(job: Job, timeline: Timeline) -> None:
    """Note how good the estimate was of a job that has succeeded just now."""
    told_s = job.estimate.eta_s if job.estimate else None
    if told_s:
        took_s = time.time() + timeline.behind_s - job.created_at
        metrics.ETA_RATIO.labels(job.eta_kind).observe(took_s / told_s)


def note_times(worker: UNetWorker, spec: JobSpec, timeline: Timeline, used_s: float) -> None:
    """Note the times of a job that has succeeded, which has used its device for ``used_s``.

    Without Redis nothing is noted: other jobs tell the same.
    """
    if not timeline.steps_s:
        return
    step_s = median(timeline.steps_s)  # one may have encoded the prompt, or patched LoRAs
    load_s = sum(_durations(timeline, "model"))
    patch_s = sum(_durations(timeline, "patch "))
    rest_s = used_s - step_s * len(timeline.steps_s) - load_s - patch_s
    times = JobTimes(
        step_s,
        max(rest_s, 0.0),
        patch_s=patch_s / len(spec.loras) if patch_s else None,
        load_s=load_s if load_s > MIN_LOAD_S else None,
    )
    try:
        worker.measured_times.record(spec, times)
    except RedisError:
        log.warning("times of a job not noted: Redis does not answer")


def _durations(timeline: Timeline, prefix: str) -> list[float]:
    return [
        span.end_s - span.start_s
        for span in timeline.spans
        if span.name.startswith(prefix) and span.worker == timeline.worker
    ]
