"""A job's events as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import redis
from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import Field

from api.auth.principal import current_principal
from api.openapi import Headers, operation_id
from api.routes.jobs import JobPath
from api.schemas.problems import error_responses
from api.server.waiting import abort_on_disconnect
from api.services import Services
from shared.errors import BadRequest, ClientDisconnected, NotFound, Unavailable
from shared.jobs.events import Event, has_more, stream_events
from shared.jobs.record import ENDED

log = logging.getLogger(__name__)

#: How long a client that lost the stream waits before it reconnects.
RECONNECT_MS = 1000
STREAM = {
    "description": "Events `status`, `progress`, `preview`, and a closing `done`; their data is JSON",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")
_END = Event("", "", "")


class EventHeaders(Headers):
    """Headers of an event stream."""

    last_event_id: Annotated[
        str | None, Field(alias="Last-Event-ID", description="resume after this event")
    ] = None


def events_api(services: Services) -> APIBlueprint:
    """The route of events. Open streams are limited: each holds a connection to Redis."""
    tag = Tag(name="jobs")
    api = APIBlueprint("events", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    slots = threading.BoundedSemaphore(services.settings.api_event_streams)

    @api.get(
        "/v1/jobs/<id>/events",
        summary="Follow a job",
        responses={200: STREAM, 204: None, **error_responses(400, 404, 503)},
    )
    def follow_job(path: JobPath, header: EventHeaders) -> Response:
        """Everything from the start, or from after Last-Event-ID; 204 when nothing more will come."""
        after = header.last_event_id or "0"
        if not _ID.fullmatch(after):
            raise BadRequest(f"Last-Event-ID {after!r} is not the id of an event")
        tenant = current_principal().tenant
        if _is_over(services, path.id, tenant, after):
            return Response(status=204)  # an EventSource stops reconnecting then
        if not slots.acquire(blocking=False):
            raise Unavailable("all event streams of this process are in use")
        body = _stream(services, path.id, tenant, after, request.environ)
        response = Response(body, mimetype="text/event-stream")
        response.call_on_close(slots.release)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
        return response

    return api


def _is_over(services: Services, job_id: str, tenant: str, after: str) -> bool:
    """Whether nothing comes after the event ``after``; raises `NotFound`."""
    job = services.jobs.get(job_id, tenant=tenant)
    return job.status in ENDED and not has_more(services.streams, job_id, after)


def _stream(
    services: Services, job_id: str, tenant: str, after: str, environ: Mapping[str, Any]
) -> Iterator[str]:
    yield f"retry: {RECONNECT_MS}\n\n"
    events = stream_events(services.streams, job_id, after)
    try:
        while (event := _next(events, environ)) is not _END:
            if event is not None:
                after = event.id
                yield f"id: {event.id}\nevent: {event.kind}\ndata: {event.data}\n\n"
            elif _is_over(services, job_id, tenant, after):
                return  # without its closing event, which was lost
            else:
                yield ": still here\n\n"
    except ClientDisconnected:
        log.debug("event stream left", extra={"job": job_id})
    except (redis.RedisError, NotFound) as error:
        # The header is sent: end the stream; the client resumes after the last event it has received.
        log.warning("event stream ended", extra={"job": job_id, "error": type(error).__name__})


def _next(events: Iterator[Event | None], environ: Mapping[str, Any]) -> Event | None:
    with abort_on_disconnect(environ):
        return next(events, _END)
