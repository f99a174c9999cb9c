"""One run of a job by one worker: every write carries its token, and fails once it is lost (fencing)."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from redis.exceptions import ConnectionError, TimeoutError

from shared import keys
from shared.errors import AttemptLost, DeadlinePassed, JobCancelled
from shared.jobs.job_script import JobScript
from shared.jobs.receipt import Receipt
from shared.jobs.record import Failure, Job, Span, Status, StoredImage

log = logging.getLogger(__name__)

#: Pause between two attempts to reach Redis; the client retries within each.
PAUSE_S = 1.0


class Used(NamedTuple):
    """What an attempt has used, besides what its job's record says."""

    device_s: float  # of the time of its device, and of others that worked for it
    image_bytes: int = 0

    @property
    def fields(self) -> dict[str, Any]:
        """As the record has it."""
        return {"device_s": round(self.device_s, 3), "image_bytes": self.image_bytes}


class Attempt:
    """One run of a job by one worker. Its methods raise `AttemptLost` once another attempt took over."""

    def __init__(
        self, script: JobScript, job: Job, token: str, *, renewals: JobScript, retry_s: float = 0
    ) -> None:
        """``renewals`` is not retried, and gives up a connection that is dead before the lease expires.

        ``retry_s``: how long the end of the job is written again while Redis does not answer.
        """
        self.job = job
        self.token = token
        self.is_preempted = False  # an interactive job needs its device, as the last `advance` has learned
        self._keeps_device = False
        self._script = script
        self._renewals = renewals
        self._retry_s = retry_s

    def advance(self, step: int | None = None, total: int | None = None) -> None:
        """Renew the lease and, given ``step`` of ``total``, report the progress, unless it was further.

        Raises `JobCancelled` when somebody cancelled the job meanwhile, and `DeadlinePassed` when it is late.
        """
        progress = (step, total) if total is not None else ("", "")
        reply = self._run(self._renewals, "advance", *progress, int(self._keeps_device))
        if reply == "cancel":
            raise JobCancelled("the job was cancelled")
        if reply == "deadline":
            raise DeadlinePassed("the deadline of its request has passed")
        self.is_preempted = reply == "preempt" and not self._keeps_device

    def keep_device(self) -> None:
        """Do not be preempted: the job could not go on from here. Known to others with the next `advance`."""
        self._keeps_device = True
        self.is_preempted = False

    def watched(self) -> bool:
        """Whether somebody follows the job's events."""
        return bool(self._renewals.redis.exists(keys.watched(self.job.id)))

    def preview(self, png_base64: str, step: int) -> None:
        """Publish a preview image of the job's latents."""
        self._run(self._renewals, "preview", json.dumps({"step": step, "png": png_base64}))

    def succeed(
        self,
        images: list[StoredImage],
        receipt: Receipt,
        timeline: list[Span],
        warnings: Sequence[str] = (),
        *,
        used: Used | None = None,
    ) -> None:
        """End the job with its images; may be called again. Raises `JobCancelled` if that came first.

        Without ``used`` the time since the attempt began counts.
        """
        fields = {
            "images": json.dumps([image.model_dump() for image in images]),
            "receipt": receipt.model_dump_json(),
            "timeline": _dump_spans(timeline),
            "warnings": json.dumps(list(warnings)),
            **(used.fields if used else {}),
        }
        reply = self._finish("succeeded", fields)
        if reply == "cancel":
            raise JobCancelled("the job was cancelled")

    def end(
        self,
        status: Literal["failed", "cancelled"],
        error: Failure | None,
        timeline: list[Span],
        *,
        used: Used | None = None,
    ) -> None:
        """End the job without images."""
        fields = {"timeline": _dump_spans(timeline)}
        fields |= used.fields if used else {}
        if error is not None:
            fields["error"] = error.model_dump_json()
        self._finish(status, fields)

    def requeue(self, error: Failure, *, is_infrastructure: bool = False) -> None:
        """Put the job back into the state ``queued``; ``error`` is reported if no attempt is left.

        A loss of infrastructure (a server is away, the worker is stopped) is counted apart.
        """
        self._write("requeue", error.model_dump_json(), int(is_infrastructure))

    def hand_over(self) -> None:
        """Put the job back into the state ``queued`` because this worker stops; that costs no attempt."""
        self._write("hand_over")

    def _finish(self, status: Status, fields: Mapping[str, Any]) -> str:
        """Retry while Redis restarts: otherwise all steps of the job would be lost."""
        deadline = time.monotonic() + self._retry_s
        while True:
            try:
                return self._write("finish", status, fields=fields)
            except (ConnectionError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("job not ended yet: Redis does not answer", extra={"error": type(error).__name__})
                time.sleep(PAUSE_S)

    def _write(self, verb: str, *args: Any, fields: Mapping[str, Any] | None = None) -> str:
        return self._run(self._script, verb, *args, fields=fields)

    def _run(self, script: JobScript, verb: str, *args: Any, fields: Mapping[str, Any] | None = None) -> str:
        reply: str = script(verb, self.job.id, self.token, *args, fields=fields)
        if reply in ("lost", "gone", "unreadable"):
            raise AttemptLost(f"another attempt took over job {self.job.id}")
        return reply


def _dump_spans(spans: Sequence[Span]) -> str:
    """JSON of a job's timeline, which has many spans: without what is not set."""
    return json.dumps([span.model_dump(exclude_defaults=True) for span in spans])
