"""Keeps an attempt alive while the loop computes: renews the lease, tells progress, hears of a cancel.

It does so until the deadline and half a grace have passed: then the loop hangs, and the job is failed here.

The loop never waits for Redis: it hands its news to this thread and looks at what came back.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from redis.exceptions import RedisError

from shared.errors import AttemptLost, DeadlineExceeded, JobCancelled, SwiftError
from shared.jobs.attempt import Attempt
from shared.jobs.record import Failure
from shared.periodic_thread import PeriodicThread
from shared.settings import Settings

log = logging.getLogger(__name__)

#: Makes a rough picture (base64 PNG) of how far the job is; only called when somebody looks.
Preview = Callable[[], str]

#: A cancel is heard of this soon, also by a job that draws no steps: one that waits for a LoRA.
LOOK_S = 1.0


class Lease:
    """``with Lease(…) as watch:`` holds the lease for as long as the block runs."""

    def __init__(self, attempt: Attempt, settings: Settings) -> None:
        self._attempt = attempt
        self._deadline = time.monotonic() + settings.job_timeout_s
        self._timeout_s = settings.job_timeout_s
        self._given_up_at = self._deadline + settings.stuck_grace_s / 2
        self._order: SwiftError | None = None
        self._news: tuple[int, int, Preview] | None = None
        self._lock = threading.Lock()
        self._thread = PeriodicThread("lease", min(settings.lease_s / 3, LOOK_S), self._renew)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop()

    def check(self) -> None:
        """Raise what shall stop the job: `JobCancelled`, `AttemptLost` or `DeadlineExceeded`."""
        if self._order is not None:
            raise self._order
        if time.monotonic() > self._deadline:
            raise self._too_late()

    def progress(self, step: int, total: int, preview: Preview) -> None:
        """Tell how far the job is; returns at once, a newer message replaces one not yet told."""
        with self._lock:
            self._news = (step, total, preview)
        self._thread.wake()

    def _renew(self) -> None:
        with self._lock:
            news, self._news = self._news, None
        try:
            if time.monotonic() > self._given_up_at:
                self._give_up()
                self._thread.stop()
            else:
                self._tell(news)
        except (JobCancelled, AttemptLost) as order:
            self._order = order
            self._thread.stop()
        except RedisError:
            log.warning("control Redis does not answer; the lease may run out")

    def _give_up(self) -> None:
        """The loop does not look at its deadline any more: end the job in its place, and renew no lease."""
        self._order = AttemptLost("the job was failed at its deadline while a step hung")
        error = self._too_late()
        log.error("job failed: a step hangs", extra={"job": self._attempt.job.id, "error": str(error)})
        self._attempt.end("failed", Failure(code=error.code, detail=f"{error}: a step hung"), [])

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"the job ran longer than {self._timeout_s:.0f} s")

    def _tell(self, news: tuple[int, int, Preview] | None) -> None:
        if news is None:
            self._attempt.advance()
            return
        step, total, preview = news
        self._attempt.advance(step, total)
        if self._attempt.watched():
            try:
                picture = preview()
            except Exception:  # a picture on the way is never worth the job
                log.exception("no preview")
                return
            self._attempt.preview(picture, step)
