"""One run of a job by one worker: every write carries its token, and fails once it is lost (fencing)."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from shared import keys
from shared.errors import AttemptLost, JobCancelled
from shared.job_script import JobScript
from shared.receipts import Receipt
from shared.settings import Settings
from shared.specs import Failure, Picture, Span

if TYPE_CHECKING:
    from shared.jobs import Job


class Attempt:
    """One run of a job by one worker. Its methods raise `AttemptLost` once another attempt took over."""

    def __init__(self, script: JobScript, settings: Settings, job: "Job", token: str) -> None:
        self.job = job
        self.token = token
        self._script = script
        self._lease_ms = int(settings.lease_s * 1000)
        self._ttl = settings.job_ttl_s

    def advance(self, step: int | None = None, total: int | None = None) -> None:
        """Renew the lease and, given ``step`` of ``total``, tell the progress.

        Raises `JobCancelled` when somebody cancelled the job meanwhile.
        """
        told = (step, total) if total is not None else ("", "")
        if self._write("advance", self._lease_ms, *told) == "cancel":
            raise JobCancelled("the job was cancelled")

    def watched(self) -> bool:
        """Whether somebody follows the job's events."""
        return bool(self._script.redis.exists(keys.watched(self.job.id)))

    def preview(self, png_base64: str, step: int) -> None:
        """Show a rough picture of how far the job is."""
        self._write("preview", json.dumps({"step": step, "png": png_base64}))

    def succeed(
        self, images: list[Picture], receipt: Receipt, timeline: list[Span], warnings: Sequence[str] = ()
    ) -> None:
        """End the job with its pictures. Raises `JobCancelled` if that came first."""
        fields = {
            "images": json.dumps([image.model_dump() for image in images]),
            "receipt": receipt.model_dump_json(),
            "timeline": json.dumps([span.model_dump() for span in timeline]),
            "warnings": json.dumps(list(warnings)),
        }
        answer = self._write("finish", "succeeded", self._ttl, fields=fields)
        if answer == "cancel":
            raise JobCancelled("the job was cancelled")

    def end(
        self, status: Literal["failed", "cancelled"], error: Failure | None, timeline: list[Span]
    ) -> None:
        """End the job without pictures."""
        fields = {"timeline": json.dumps([span.model_dump() for span in timeline])}
        if error is not None:
            fields["error"] = error.model_dump_json()
        self._write("finish", status, self._ttl, fields=fields)

    def give_back(self, error: Failure) -> None:
        """Put the job back into the state ``queued``; ``error`` is told if no attempt is left."""
        self._write("give_back", self._ttl, error.model_dump_json())

    def _write(self, verb: str, *args: Any, fields: Mapping[str, Any] | None = None) -> str:
        answer: str = self._script(verb, self.job.id, self.token, *args, fields=fields)
        if answer in ("lost", "gone"):
            raise AttemptLost(f"another attempt took over job {self.job.id}")
        return answer
