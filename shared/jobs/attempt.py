"""One run of a job by one worker: every write carries its token, and fails once it is lost (fencing)."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from redis.exceptions import ConnectionError, TimeoutError

from shared import keys
from shared.errors import AttemptLost, JobCancelled
from shared.jobs.job_script import JobScript
from shared.jobs.receipt import Receipt
from shared.jobs.record import Failure, Job, Span, Status, StoredImage

log = logging.getLogger(__name__)

#: Between two tries to reach Redis, each of which is patient itself.
RETRY_S = 1.0


class Attempt:
    """One run of a job by one worker. Its methods raise `AttemptLost` once another attempt took over."""

    def __init__(self, script: JobScript, job: Job, token: str, *, patience_s: float = 0) -> None:
        """How the job ends is told as soon as Redis answers again, for ``patience_s`` at most."""
        self.job = job
        self.token = token
        self._script = script
        self._patience_s = patience_s

    def advance(self, step: int | None = None, total: int | None = None) -> None:
        """Renew the lease and, given ``step`` of ``total``, tell the progress.

        Raises `JobCancelled` when somebody cancelled the job meanwhile.
        """
        told = (step, total) if total is not None else ("", "")
        if self._write("advance", *told) == "cancel":
            raise JobCancelled("the job was cancelled")

    def watched(self) -> bool:
        """Whether somebody follows the job's events."""
        return bool(self._script.redis.exists(keys.watched(self.job.id)))

    def preview(self, png_base64: str, step: int) -> None:
        """Show a rough picture of how far the job is."""
        self._write("preview", json.dumps({"step": step, "png": png_base64}))

    def succeed(
        self, images: list[StoredImage], receipt: Receipt, timeline: list[Span], warnings: Sequence[str] = ()
    ) -> None:
        """End the job with its pictures; may be called again. Raises `JobCancelled` if that came first."""
        fields = {
            "images": json.dumps([image.model_dump() for image in images]),
            "receipt": receipt.model_dump_json(),
            "timeline": json.dumps([span.model_dump() for span in timeline]),
            "warnings": json.dumps(list(warnings)),
        }
        answer = self._finish("succeeded", fields)
        if answer == "cancel":
            raise JobCancelled("the job was cancelled")

    def end(
        self, status: Literal["failed", "cancelled"], error: Failure | None, timeline: list[Span]
    ) -> None:
        """End the job without pictures."""
        fields = {"timeline": json.dumps([span.model_dump() for span in timeline])}
        if error is not None:
            fields["error"] = error.model_dump_json()
        self._finish(status, fields)

    def give_back(self, error: Failure, *, is_infrastructure: bool = False) -> None:
        """Put the job back into the state ``queued``; ``error`` is reported if no attempt is left.

        A loss of infrastructure (a server is away, the worker is stopped) is counted apart.
        """
        self._write("give_back", error.model_dump_json(), int(is_infrastructure))

    def _finish(self, status: Status, fields: Mapping[str, Any]) -> str:
        """Losing the images of a job to a restart of Redis would cost all of its steps."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._write("finish", status, fields=fields)
            except (ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("job not ended yet: Redis does not answer", extra={"error": type(error).__name__})
                time.sleep(RETRY_S)

    def _write(self, verb: str, *args: Any, fields: Mapping[str, Any] | None = None) -> str:
        answer: str = self._script(verb, self.job.id, self.token, *args, fields=fields)
        if answer in ("lost", "gone", "unreadable"):
            raise AttemptLost(f"another attempt took over job {self.job.id}")
        return answer
