"""A call of a compatible API that submits a job and waits until it has ended."""

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from api.auth.principal import current_principal
from api.middleware.request_body import release_body
from api.routes.event_access import longest_block_s, while_authorized
from api.schemas.submission import Submission
from api.server.waiting import abort_on_disconnect
from api.server.waiting_calls import RENEWAL_S
from api.services import Services
from api.submission.submit import SubmittedJob, submit
from shared.errors import NotFound, Unauthorized
from shared.jobs.events import START, Event, stream_events
from shared.jobs.record import Job

log = logging.getLogger(__name__)

#: nginx' status of calls whose client has hung up; it is in the access log alone.
CLIENT_CLOSED_REQUEST = 499
_END = Event("", "", "")


class WaitingCall:
    """Submits a job and follows it; a call that ends before its job does, as with its client, cancels it.

    A call with an idempotency key leaves it running: others may wait for the same job, or will with that key.
    It counts as an open event stream: both hold a connection, and as many as are allowed may be open. Made
    within a request; `events` may be read after it, in a response that is streamed.
    """

    def __init__(self, services: Services, environ: Mapping[str, Any], *, is_listed: bool = False) -> None:
        """``is_listed``: other requests may ask for it, `Services.waiting_calls`."""
        self._services, self._environ, self._is_listed = services, environ, is_listed
        self._renewed_at = -math.inf
        self._tenant = current_principal().tenant
        self._job_id: str | None = None
        self._after = START
        self._cancels_job = False
        self._is_closed = False
        services.event_slots.take(self._tenant)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self, submission: Submission, idempotency_key: str = "", *, keeps_body: bool = False
    ) -> SubmittedJob:
        """Accept the job; raises as `api.submission.submit.submit` does.

        From then on the request's body counts no more for what bodies may take of the memory: let nothing
        refer to it, unless ``keeps_body``.
        """
        job = submit(
            submission,
            self._services,
            tenant=self._tenant,
            idempotency_key=idempotency_key,
            body_sha256=self._services.offload(lambda: _digest(submission)) if idempotency_key else "",
        )
        self._job_id = job.id
        self._cancels_job = not idempotency_key
        self._renew(job.id)
        if not keeps_body:
            release_body()
        return job

    def events(self, *, with_previews: bool = True) -> Iterator[Event | None]:
        """The job's events to its end; ``None`` where nothing happens for a while. A call that is listed has
        no need of the first one.

        Without previews there are none but those that others have workers compute; a call that is listed has
        them computed itself.
        Raises `Unauthorized` once the key that the call came with has ended.
        """
        assert self._job_id is not None, "submit the job first"
        block_s = longest_block_s(self._services.settings)
        streams = self._services.streams
        watches = with_previews and not self._is_listed
        events = stream_events(streams, self._job_id, self._after, block_s=block_s, with_previews=watches)
        return self._until_the_end(while_authorized(events, self._services))

    def read(self) -> Job:
        """The job as it stands, once its events have ended; the call waits for it no longer."""
        assert self._job_id is not None, "submit the job first"
        jobs = self._services.jobs
        if not self._is_listed:
            return jobs.get(self._job_id, tenant=self._tenant)
        job = self._services.waiting_calls.end_and_read(self._tenant, self._job_id, jobs)
        self._is_listed = False
        return job

    def close(self) -> None:
        """End the call, and the job with it unless it has a key or has ended. May be repeated."""
        if self._is_closed:
            return
        self._is_closed = True
        self._services.event_slots.give_back(self._tenant)
        if self._job_id is None:
            return
        if self._is_listed:
            self._unlist(self._job_id)
        if self._cancels_job:
            self._cancel(self._job_id)

    def _until_the_end(self, events: Iterator[Event | None]) -> Iterator[Event | None]:
        while (event := self._next(events)) is not _END:
            if event is not None and event.kind == "unauthorized":
                raise Unauthorized("the API key that this call came with has ended")
            assert self._job_id is not None
            self._renew(self._job_id)
            yield event
        self._cancels_job = False

    def _next(self, events: Iterator[Event | None]) -> Event | None:
        with abort_on_disconnect(self._environ):
            return next(events, _END)

    def _renew(self, job_id: str) -> None:
        if self._is_listed and time.monotonic() - self._renewed_at > RENEWAL_S:
            self._after = self._services.waiting_calls.renew(self._tenant, job_id)
            self._renewed_at = time.monotonic()

    def _unlist(self, job_id: str) -> None:
        try:
            self._services.waiting_calls.end(self._tenant, job_id)
        except Exception as error:  # the store does not answer; it is forgotten by itself
            fields = {"job": job_id, "error": type(error).__name__}
            log.warning("a call that has ended is still listed", extra=fields)

    def _cancel(self, job_id: str) -> None:
        try:
            self._services.jobs.cancel(job_id, tenant=self._tenant)
        except NotFound:  # deleted meanwhile
            return
        except Exception as error:  # the store does not answer; what ended the call is what its client hears
            fields = {"job": job_id, "error": type(error).__name__}
            log.warning("the job of a call that has ended is not cancelled", extra=fields)


def _digest(submission: Submission) -> str:
    """Of the request, not of the body: a multipart body has another boundary each time."""
    return hashlib.sha256(submission.root.model_dump_json().encode()).hexdigest()
