"""Collects steps of several jobs into one batch, where measured times say that it pays."""

import logging
import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from workers.controlnet_serving.batch_sizer import BatchSizer, BatchSizers
from workers.controlnet_serving.recent_jobs import RecentJobs
from workers.transport.protocol import QueuedStep
from workers.transport.step_queue import ClaimedStep, StepQueue

log = logging.getLogger(__name__)

#: Where other jobs use the ControlNet, a step waits this share of its own time for theirs.
WAIT_SHARE = 0.03
#: A job still uses it if its last step came within so many times what a step takes, or within `MIN_USE_S`:
#: between two of its steps the base model computes. One that has ended is not waited for.
USE_STEPS, MIN_USE_S = 10, 0.1


class BatchCollector:
    """Takes steps out of turn that can share the forward pass of a step that was taken."""

    def __init__(self, steps: StepQueue, recent_jobs: RecentJobs, delay_share: float) -> None:
        """``delay_share``: the share by which a step may take longer so that others join it."""
        self._steps = steps
        self._recent_jobs = recent_jobs
        self._sizers = BatchSizers(delay_share)

    def collect(self, step: ClaimedStep) -> list[ClaimedStep]:
        """Steps of other jobs to compute in one forward pass with ``step``; they are claimed.

        While Redis does not answer, those that are claimed already: nobody else computes them, nor ``step``.
        """
        found: list[ClaimedStep] = []
        try:
            for queued in self._take_queued(step) if step.request.batch_key else ():
                if (claimed := self._steps.claim(queued)) is not None:
                    found.append(claimed)
        except RedisError as error:
            log.warning("no more steps join a batch", extra={"error": str(error)})
        return found

    def _take_queued(self, step: ClaimedStep) -> list[QueuedStep]:
        request, part, sizer = step.request, step.part, self._sizer(step)
        extra_rows, alone_s = sizer.extra_rows(request.rows), sizer.seconds(request.rows)
        if not extra_rows or alone_s is None:
            return []
        queued = self._steps.collect_batch(part, request, extra_rows) if step.queue_length else []
        used_s = max(USE_STEPS * alone_s, MIN_USE_S)
        if not queued and self._recent_jobs.count(part.controlnet, used_s) > 1:
            time.sleep(WAIT_SHARE * alone_s)
            queued = self._steps.collect_batch(part, request, extra_rows)
        return queued

    def note_full(self, batch: Sequence[ClaimedStep]) -> None:
        """Remember that the device's memory does not suffice for a forward pass of this batch."""
        self._sizer(batch[0]).note_full(sum(step.request.rows for step in batch))

    def record(self, batch: Sequence[ClaimedStep], seconds: float) -> None:
        """Remember how long the forward pass of this batch took."""
        self._sizer(batch[0]).record(sum(step.request.rows for step in batch), seconds)

    def _sizer(self, step: ClaimedStep) -> BatchSizer:
        return self._sizers.of(step.part.controlnet, step.request.batch_key_of(step.part))
