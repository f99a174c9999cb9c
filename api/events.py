"""A job's events as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import logging
import re
import threading
from collections.abc import Iterator
from typing import Annotated

import redis
from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import Field

from api.jobs import JobPath
from api.openapi import Headers, operation_id
from api.problems import refusals
from api.services import Services
from shared import keys
from shared.errors import BadRequest, Unavailable
from shared.events import follow
from shared.specs import ENDED

log = logging.getLogger(__name__)

#: How a client that lost the stream waits before it comes back.
RECONNECT_MS = 1000
STREAM = {
    "description": "Events `status`, `progress`, `preview`, and a closing `done`; their data is JSON",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_ID = re.compile(r"\d{1,19}(-\d{1,19})?")


class EventHeaders(Headers):
    """Headers of an event stream."""

    last_event_id: Annotated[
        str | None, Field(alias="Last-Event-ID", description="resume after this event")
    ] = None


def events_api(services: Services) -> APIBlueprint:
    """The route of events. Each open stream holds a thread of the server: they are counted."""
    tag = Tag(name="jobs")
    api = APIBlueprint("events", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    slots = threading.BoundedSemaphore(services.settings.api_event_streams)

    @api.get(
        "/v1/jobs/<id>/events",
        summary="Follow a job",
        responses={200: STREAM, 204: None, **refusals(400, 404, 503)},
    )
    def follow_job(path: JobPath, header: EventHeaders) -> Response:
        """Everything from the start, or from after Last-Event-ID; 204 when nothing more will come."""
        after = header.last_event_id or "0"
        if not _ID.fullmatch(after):
            raise BadRequest(f"Last-Event-ID {after!r} is no event's id")
        if services.jobs.get(path.id).status in ENDED and not _has_events(services, path.id, after):
            return Response(status=204)  # tells an EventSource to stop reconnecting
        if not slots.acquire(blocking=False):
            raise Unavailable("all event streams of this process are taken")
        response = Response(_stream(services, path.id, after), mimetype="text/event-stream")
        response.call_on_close(slots.release)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
        return response

    return api


def _has_events(services: Services, job_id: str, after: str) -> bool:
    return bool(services.control.xrange(keys.events(job_id), min=f"({after}", count=1))


def _stream(services: Services, job_id: str, after: str) -> Iterator[str]:
    yield f"retry: {RECONNECT_MS}\n\n"
    try:
        for event in follow(services.control, job_id, after):
            if event is None:
                yield ": still here\n\n"
            else:
                yield f"id: {event.id}\nevent: {event.kind}\ndata: {event.data}\n\n"
    except redis.RedisError as error:
        # The head is sent: end the stream, the client resumes after the last event it has seen.
        log.warning("event stream ended job=%s error=%s", job_id, type(error).__name__)
