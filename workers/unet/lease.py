"""Keeps an attempt's lease while the loop computes: renews it, reports progress, learns of a cancel.

The loop never waits for Redis: it hands its progress to a thread and checks what that has learned. Once the
deadline and half the grace period have passed, a step hangs, and the thread fails the job itself.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from redis.exceptions import RedisError

from shared.errors import AttemptLost, DeadlineExceeded, DeadlinePassed, JobCancelled, SwiftError
from shared.jobs.attempt import Attempt
from shared.jobs.record import Failure
from shared.periodic_thread import PeriodicThread
from shared.settings import Settings

log = logging.getLogger(__name__)

#: Makes a rough image of the job so far (base64 PNG); only called while somebody follows its events.
Preview = Callable[[], str]

#: Progress is published so often at most, and at the last step: each time takes the loop's thread the GIL.
PROGRESS_EVERY_S = 0.2
#: A cancel is noticed this soon, also by a job that computes no steps because it waits for a LoRA.
MAX_INTERVAL_S = 1.0


class Progress(NamedTuple):
    """How far the loop is, not yet reported."""

    step: int
    total: int
    preview: Preview


class RateLimit:
    """Allows something once in ``interval_s`` seconds."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._allowed_at = -interval_s

    def allows(self, now_s: float) -> bool:
        """Whether it may happen now; then it counts as done."""
        if now_s - self._allowed_at < self._interval_s:
            return False
        self._allowed_at = now_s
        return True


class Lease:
    """``with Lease(…) as lease:`` holds the lease while the block runs."""

    def __init__(self, attempt: Attempt, settings: Settings) -> None:
        self._attempt = attempt
        self._timeout_s = settings.job_timeout_s
        self._deadline = time.monotonic() + self._timeout_s
        self._hangs_after = self._deadline + settings.stuck_grace_s / 2
        self._stop_reason: SwiftError | None = None
        self._progress: Progress | None = None
        self._lock = threading.Lock()
        self._progress_limit = RateLimit(PROGRESS_EVERY_S)
        self._thread = PeriodicThread("lease", min(settings.lease_s / 4, MAX_INTERVAL_S), self._renew)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop()

    def check(self) -> None:
        """Raise what shall stop the job: `JobCancelled`, `AttemptLost`, or that a deadline has passed."""
        if self._stop_reason is not None:
            raise self._stop_reason
        if time.monotonic() > self._deadline:
            raise self._deadline_exceeded()

    @property
    def is_preempted(self) -> bool:
        """Whether an interactive job needs the device."""
        return self._attempt.is_preempted

    def keep_device(self) -> None:
        """Have the job not be preempted: another attempt could not go on from where it is."""
        self._attempt.keep_device()

    def report_progress(self, step: int, total: int, preview: Preview) -> None:
        """Report how far the job is; returns at once, and replaces what has not been published yet.

        What comes too soon is published with the next report, or the next renewal.
        """
        with self._lock:
            self._progress = Progress(step, total, preview)
        if self._progress_limit.allows(time.monotonic()) or step == total:
            self._thread.wake()

    def _renew(self) -> None:
        with self._lock:
            progress, self._progress = self._progress, None
        try:
            if time.monotonic() > self._hangs_after:
                self._fail_hanging_job()
                self._thread.stop()
            elif progress is None:
                self._attempt.advance()
            else:
                self._publish(progress)
        except (JobCancelled, DeadlinePassed, AttemptLost) as reason:
            self._stop_reason = reason
            self._thread.stop()
        except RedisError:
            with self._lock:
                self._progress = self._progress or progress  # tried again, unless the loop is further
            log.warning("lease not renewed, it may expire: the control Redis does not answer")

    def _publish(self, progress: Progress) -> None:
        self._attempt.advance(progress.step, progress.total)
        if not self._attempt.watched():
            return
        try:
            image = progress.preview()
        except Exception:  # a failed preview must not cost the job
            log.exception("no preview")
        else:
            self._attempt.preview(image, progress.step)

    def _fail_hanging_job(self) -> None:
        """End the job in place of the loop, which does not check its deadline any more."""
        self._stop_reason = AttemptLost("the job was failed at its deadline while a step hung")
        error = self._deadline_exceeded()
        log.error("job failed: a step hangs", extra={"job": self._attempt.job.id, "error": str(error)})
        self._attempt.end("failed", Failure(code=error.code, detail=f"{error}: a step hung"), [])

    def _deadline_exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"the job ran longer than {self._timeout_s:.0f} s")
